package orbit

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// sample is an element set that no satellite has, as two lines and as numbers.
var sample = struct {
	line1, line2 string
	elements     Elements
}{
	"1 90001U 26001A   26152.50000000  .00000000  00000-0  50000-4 0    13",
	"2 90001  97.4100 220.0000 0010000  90.0000 270.0000 15.22000000    17",
	Elements{
		Catalog: 90001, ID: "2026-001A", Epoch: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC),
		MeanMotion: 15.22, Eccentricity: 0.001, Inclination: 97.41, Node: 220, Perigee: 90, Anomaly: 270, Drag: 5e-5,
	},
}

func summed(line string) string { return fmt.Sprintf("%s%d", line[:68], Checksum(line)) }

func TestParseTLE(t *testing.T) {
	got, err := ParseTLE(sample.line1, sample.line2)
	if err != nil || got != sample.elements {
		t.Fatalf("got %+v, %v; want %+v", got, err, sample.elements)
	}
	swap := func(old, new string) func(string) string {
		return func(line string) string { return summed(strings.Replace(line, old, new, 1)) }
	}
	for name, c := range map[string]struct {
		change func(string) string
		want   func(*Elements)
	}{
		"letter in the number":  {swap("90001U", "T0001U"), func(e *Elements) { e.Catalog = 270001 }},
		"short number":          {swap("90001U", "    5U"), func(e *Elements) { e.Catalog = 5 }},
		"no designator":         {swap("26001A  ", "        "), func(e *Elements) { e.ID = "" }},
		"old":                   {swap("U 26001A   26152", "U 58002B   58152"), func(e *Elements) { e.ID, e.Epoch = "1958-002B", time.Date(1958, 6, 1, 12, 0, 0, 0, time.UTC) }},
		"blanks in the epoch":   {swap("26152.50000000", "26  3.5       "), func(e *Elements) { e.Epoch = time.Date(2026, 1, 3, 12, 0, 0, 0, time.UTC) }},
		"negative drag":         {swap(" 50000-4", "-13525-3"), func(e *Elements) { e.Drag = -0.13525e-3 }},
		"drag of two digits":    {swap(" 50000-4", " 14311-1"), func(e *Elements) { e.Drag = 0.14311e-1 }},
		"drag of plus":          {swap(" 50000-4", "+12345+1"), func(e *Elements) { e.Drag = 1.2345 }},
		"no drag":               {swap(" 50000-4", "        "), func(e *Elements) { e.Drag = 0 }},
		"moment of microsecond": {swap("26152.50000000", "26152.00000001"), func(e *Elements) { e.Epoch = time.Date(2026, 6, 1, 0, 0, 0, 864_000, time.UTC) }},
	} {
		want := sample.elements
		c.want(&want)
		line1, line2 := c.change(sample.line1), sample.line2
		line2 = summed(line2[:2] + line1[2:7] + line2[7:])
		if got, err := ParseTLE(line1, line2); err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, want)
		}
	}
}

func TestParseTLERefuses(t *testing.T) {
	for name, c := range map[string]struct{ line, old, new, want string }{
		"damaged":         {"1", "26152", "26153", "checksum is 4"},
		"too long":        {"1", "    13", "    13 ", "70 columns"},
		"not ASCII":       {"2", "97.41", "97\x0041", "column 12"},
		"other way round": {"1", "1 9", "2 9", "begins with"},
		"other satellite": {"2", "90001", "90002", "mixed up"},
		"another theory":  {"1", "-4 0 ", "-4 4 ", "SGP4-XP"},
		"no number":       {"1", "90001", "9000x", "mixed up"},
		"no epoch":        {"1", "26152", "26   ", "epoch"},
		"day 367":         {"1", "26152", "26367", "epoch"},
		"inclination":     {"2", " 97.4100", "197.4100", "inclination"},
		"no inclination":  {"2", " 97.4100", "        ", "columns 9 to 16"},
		"no eccentricity": {"2", "0010000", "00x0000", "columns 27 to 33"},
		"no exponent":     {"1", " 50000-4", " 5000004", "columns 54 to 61"},
		"bad exponent":    {"1", " 50000-4", " 5x000-4", "columns 54 to 61"},
		"no motion":       {"2", "15.22000000", " 0.00000000", "mean motion"},
	} {
		lines := [2]string{sample.line1, sample.line2}
		line := &lines[c.line[0]-'1']
		changed := strings.Replace(*line, c.old, c.new, 1)
		if changed == *line {
			t.Fatalf("%s: %q is not in line %s", name, c.old, c.line)
		}
		*line = changed
		if name != "damaged" && len(changed) == tleLine {
			*line = summed(changed)
		}
		_, err := ParseTLE(lines[0], lines[1])
		if !errors.Is(err, ErrElements) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error that says %q", name, err, c.want)
		}
	}
}

// messages are the sample in each of the forms of a message.
var messages = map[string]string{
	"KVN": `CCSDS_OMM_VERS = 3.0
COMMENT made up
CREATION_DATE = 2026-06-01T13:00:00
ORIGINATOR = PERIGEE
OBJECT_NAME = SAMPLE 1
OBJECT_ID = 2026-001A
CENTER_NAME = EARTH
REF_FRAME = TEME
TIME_SYSTEM = UTC
MEAN_ELEMENT_THEORY = SGP4
EPOCH = 2026-152T12:00:00.000Z
MEAN_MOTION = 15.22 [rev/day]
ECCENTRICITY = .001
INCLINATION = 97.41 [deg]
RA_OF_ASC_NODE = 220 [deg]
ARG_OF_PERICENTER = 90 [deg]
MEAN_ANOMALY = 270 [deg]
NORAD_CAT_ID = 90001
BSTAR = 5E-5 [1/ER]
`,
	"JSON": `[{"OBJECT_NAME":"SAMPLE 1","OBJECT_ID":"2026-001A","EPOCH":"2026-06-01T12:00:00.000000","MEAN_MOTION":15.22,
"ECCENTRICITY":0.001,"INCLINATION":97.41,"RA_OF_ASC_NODE":220,"ARG_OF_PERICENTER":90,"MEAN_ANOMALY":270,
"EPHEMERIS_TYPE":0,"NORAD_CAT_ID":90001,"BSTAR":0.00005}]`,
	"JSON of text": `{"CCSDS_OMM_VERS":"3.0","OBJECT_NAME":"SAMPLE 1","OBJECT_ID":"2026-001A","REF_FRAME":"TEME","EPOCH":"2026-06-01T12:00:00.000000",
"MEAN_MOTION":"15.22000000","ECCENTRICITY":"0.00100000","INCLINATION":"97.4100","RA_OF_ASC_NODE":"220.0000","ARG_OF_PERICENTER":"90.0000",
"MEAN_ANOMALY":"270.0000","EPHEMERIS_TYPE":"0","NORAD_CAT_ID":"90001","BSTAR":"0.00005000000000","DECAY_DATE":null}`,
	"CSV": `OBJECT_NAME,OBJECT_ID,EPOCH,MEAN_MOTION,ECCENTRICITY,INCLINATION,RA_OF_ASC_NODE,ARG_OF_PERICENTER,MEAN_ANOMALY,NORAD_CAT_ID,BSTAR
SAMPLE 1,2026-001A,2026-06-01T12:00:00.000000,15.22,.001,97.41,220,90,270,90001,.5E-4
`,
	"XML": `<?xml version="1.0" encoding="UTF-8"?>
<ndm><omm id="CCSDS_OMM_VERS" version="2.0"><header><CREATION_DATE/><ORIGINATOR/></header><body><segment>
<metadata><OBJECT_NAME>SAMPLE 1</OBJECT_NAME><OBJECT_ID>2026-001A</OBJECT_ID><REF_FRAME>TEME</REF_FRAME></metadata>
<data><meanElements><EPOCH>2026-06-01T12:00:00.000000</EPOCH><MEAN_MOTION>15.22</MEAN_MOTION><ECCENTRICITY>.001</ECCENTRICITY>
<INCLINATION>97.41</INCLINATION><RA_OF_ASC_NODE>220</RA_OF_ASC_NODE><ARG_OF_PERICENTER>90</ARG_OF_PERICENTER>
<MEAN_ANOMALY>270</MEAN_ANOMALY></meanElements><tleParameters><NORAD_CAT_ID>90001</NORAD_CAT_ID><BSTAR>5E-5</BSTAR></tleParameters></data>
</segment></body></omm></ndm>
`,
	"three lines": "0 SAMPLE 1\r\n" + sample.line1 + "\r\n" + sample.line2 + "\r\n",
	"name":        "# made up\nSAMPLE 1  \n" + sample.line1 + "\n" + sample.line2,
}

func TestRead(t *testing.T) {
	want := sample.elements
	want.Name = "SAMPLE 1"
	for form, text := range messages {
		got, err := Read(iotest.OneByteReader(strings.NewReader("\ufeff\n" + text)))
		if err != nil || !reflect.DeepEqual(got, []Elements{want}) {
			t.Errorf("%s: got %+v, %v; want %+v", form, got, err, want)
		}
	}
	for form, text := range map[string]string{
		"KVN": messages["KVN"] + messages["KVN"],
		"TLE": messages["name"] + "\n" + messages["three lines"],
		"XML": strings.Replace(messages["XML"], "</ndm>", "<omm><body><segment>"+
			strings.SplitN(strings.SplitN(messages["XML"], "<segment>", 2)[1], "</segment>", 2)[0]+"</segment></body></omm></ndm>", 1),
		"JSON": strings.TrimSuffix(messages["JSON"], "]") + "," + messages["JSON of text"] + "]",
		"CSV":  messages["CSV"] + strings.SplitN(messages["CSV"], "\n", 2)[1],
	} {
		got, err := Read(strings.NewReader(text))
		if err != nil || !reflect.DeepEqual(got, []Elements{want, want}) {
			t.Errorf("two in %s: got %+v, %v", form, got, err)
		}
	}
	bare, err := Read(strings.NewReader(sample.line1 + "\n" + sample.line2))
	if err != nil || !reflect.DeepEqual(bare, []Elements{sample.elements}) {
		t.Errorf("without a name: got %+v, %v", bare, err)
	}
}

func TestReadRefuses(t *testing.T) {
	swap := func(form, old, new string) string {
		if !strings.Contains(messages[form], old) {
			t.Fatalf("%s has no %q", form, old)
		}
		return strings.Replace(messages[form], old, new, 1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"nothing":           {"", "has none"},
		"blank":             {" \n\t\n", "has none"},
		"empty list":        {"[]", "has none"},
		"comments":          {"# nothing\n", "has none"},
		"prose":             {"No GP data found", "in the middle"},
		"two names":         {"A\nB\n" + sample.line1, "line 2"},
		"one line":          {sample.line1, "in the middle"},
		"damaged TLE":       {sample.line1 + "\n" + strings.Replace(sample.line2, "97", "96", 1), "at line 2 of the file"},
		"no drag":           {swap("JSON", "BSTAR", "BTERM"), "BSTAR is missing"},
		"empty value":       {swap("CSV", ".5E-4", ""), "BSTAR is missing"},
		"word for number":   {swap("KVN", "97.41", "steep"), "INCLINATION"},
		"other frame":       {swap("KVN", "= TEME", "= EME2000"), "REF_FRAME"},
		"other centre":      {swap("KVN", "= EARTH", "= MARS BARYCENTER"), "CENTER_NAME"},
		"other time":        {swap("KVN", "= UTC", "= TAI"), "TIME_SYSTEM"},
		"other theory":      {swap("KVN", "= SGP4", "= DSST"), "MEAN_ELEMENT_THEORY"},
		"SGP4-XP":           {swap("JSON", `"EPHEMERIS_TYPE":0`, `"EPHEMERIS_TYPE":4`), "SGP4-XP"},
		"no epoch":          {swap("XML", "2026-06-01T12:00:00.000000", "yesterday"), "EPOCH"},
		"catalogue":         {swap("XML", "90001", "-1"), "NORAD_CAT_ID"},
		"no orbit":          {swap("JSON", "0.001", "1.5"), "eccentricity"},
		"JSON that goes on": {messages["JSON"] + "x", "something follows"},
		"JSON of numbers":   {"[1,2]", "JSON"},
		"CSV of two":        {messages["CSV"] + "a,b\n", "CSV"},
		"XML cut":           {swap("XML", "</ndm>", ""), "XML"},
		"KVN line":          {swap("KVN", "OBJECT_ID =", "OBJECT_ID"), "KEY = VALUE"},
		"KVN comment only":  {"COMMENT nothing\n", "CCSDS_OMM_VERS"},
		"KVN without head":  {"COMMENT x\nEPOCH = 1\n", "before CCSDS_OMM_VERS"},
	} {
		_, err := Read(strings.NewReader(c.text))
		if !errors.Is(err, ErrElements) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error that says %q", name, err, c.want)
		}
	}
	if _, err := Read(iotest.ErrReader(os.ErrClosed)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("failing reader: got %v", err)
	}
}

// TestReadTruncated cuts each form at each byte: what is left is refused, or holds the
// same elements, where only what follows them was cut.
func TestReadTruncated(t *testing.T) {
	want := sample.elements
	want.Name = "SAMPLE 1"
	for form, text := range messages {
		for i := range len(text) {
			got, err := Read(strings.NewReader(text[:i]))
			if err != nil {
				continue
			}
			// The last digits of a table or a list of keys may be lost unseen.
			last := got[0]
			if form == "KVN" || form == "CSV" {
				last.Drag = want.Drag
			}
			if len(got) != 1 || last != want {
				t.Errorf("%s cut at %d: got %+v", form, i, got)
			}
		}
	}
}

// FuzzRead checks that whatever is read can be propagated, or is refused with an
// error.
func FuzzRead(f *testing.F) {
	for _, text := range messages {
		f.Add(text)
	}
	f.Add(sample.line1 + "\n" + sample.line2)
	f.Fuzz(func(t *testing.T, text string) {
		all, err := Read(strings.NewReader(text))
		if err != nil {
			if len(all) != 0 || !errors.Is(err, ErrElements) {
				t.Errorf("%d element sets beside the error %v", len(all), err)
			}
			return
		}
		for _, e := range all {
			p, err := NewPropagator(e)
			if err != nil {
				t.Fatal(err)
			}
			for _, minutes := range []float64{0, 1, 10_000, -10_000} {
				s, err := p.After(minutes)
				if err == nil && !(s.Position.Norm() >= 0 && s.Velocity.Norm() >= 0) {
					t.Errorf("%v after %v minutes: %+v", e, minutes, s)
				}
			}
		}
	})
}
