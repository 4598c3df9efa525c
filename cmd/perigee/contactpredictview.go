package main

import (
	"fmt"
	"io"
	"time"

	"perigee/bundle"
	"perigee/bundle/contact/orbit"
	"perigee/bundle/contact/predict"
	"perigee/bundle/dtntime"
)

// windowView is a window with -o json. Times are RFC 3339 with milliseconds.
type windowView struct {
	Satellite bundle.EID `json:"satellite"`
	Peer      bundle.EID `json:"peer"`
	// A pass that the span cuts has no rise or no set; Start and End are those of
	// the span then.
	Start       string        `json:"start"`
	End         string        `json:"end"`
	Culmination *momentView   `json:"culmination,omitempty"`
	Nearest     float64       `json:"nearest_km"`
	Farthest    float64       `json:"farthest_km"`
	LightLeast  float64       `json:"owlt_least_ms"`
	LightMost   float64       `json:"owlt_most_ms"`
	Contacts    []contactPart `json:"contacts"`
	Track       []momentView  `json:"track,omitempty"`

	length     time.Duration
	there      int64 // bytes from the satellite
	back       int64 // bytes to it
	cutS, cutE bool
}

// contactPart is a contact of a window.
type contactPart struct {
	From       bundle.EID `json:"from"`
	To         bundle.EID `json:"to"`
	Start      string     `json:"start"`
	End        string     `json:"end"`
	RateBPS    uint64     `json:"rate_bps"`
	LightMS    uint64     `json:"owlt_ms"`
	Confidence float64    `json:"confidence"`
	Volume     int64      `json:"volume_bytes"`
}

// momentView is where a satellite stands.
type momentView struct {
	At        string  `json:"at"`
	Azimuth   float64 `json:"azimuth"`
	Elevation float64 `json:"elevation"`
	Range     float64 `json:"range_km"`
	Light     float64 `json:"owlt_ms"`
}

func viewMoment(m orbit.Moment) momentView {
	return momentView{
		At: dtntime.FromTime(m.At.Round(time.Millisecond)).String(), Azimuth: m.Azimuth, Elevation: m.Elevation,
		Range: m.Range, Light: lightMillis(m.Range),
	}
}

// lightMillis is how long light takes for a way in kilometres, in milliseconds.
func lightMillis(way float64) float64 { return way / orbit.LightSpeed * 1000 }

func viewWindow(w predict.Window, n predict.Network, track time.Duration) (windowView, error) {
	v := windowView{
		Satellite: w.Satellite, Peer: w.Peer, Start: w.Start.String(), End: w.End.String(),
		Nearest: w.Nearest, Farthest: w.Farthest, LightLeast: lightMillis(w.Nearest), LightMost: lightMillis(w.Farthest),
		Contacts: []contactPart{}, length: w.End.Sub(w.Start).Std(),
	}
	for _, c := range w.Contacts {
		part := contactPart{
			From: c.From, To: c.To, Start: c.Start.String(), End: c.End.String(), RateBPS: uint64(c.Rate),
			LightMS: uint64(c.Light), Confidence: c.Confidence, Volume: c.VolumeAt(c.Start),
		}
		v.Contacts = append(v.Contacts, part)
		if c.From == w.Satellite {
			v.there += part.Volume
		} else {
			v.back += part.Volume
		}
	}
	if w.Pass == nil {
		return v, nil
	}
	top := viewMoment(w.Pass.Culmination)
	v.Culmination, v.cutS, v.cutE = &top, w.Pass.Begun, w.Pass.Unended
	if track > 0 {
		moments, err := trackOf(w, n, track)
		if err != nil {
			return v, err
		}
		for _, m := range moments {
			v.Track = append(v.Track, viewMoment(m))
		}
	}
	return v, nil
}

// trackOf follows the satellite of a window over its station.
func trackOf(w predict.Window, n predict.Network, every time.Duration) ([]orbit.Moment, error) {
	for _, a := range n.Satellites {
		for _, s := range n.Stations {
			if a.Node == w.Satellite && s.Node == w.Peer {
				return orbit.Track(a.Orbit, s.Ground, w.Pass.Rise.At, w.Pass.Set.At, every)
			}
		}
	}
	return nil, nil
}

func windowTable(w io.Writer, views []windowView) {
	row(w, "SATELLITE", "PEER", "START", "TOP", "END", "LENGTH", "ELEVATION", "LIGHT", "FROM SAT", "TO SAT")
	for _, v := range views {
		top, elevation := "-", "-"
		if v.Culmination != nil {
			top, elevation = v.Culmination.At[len("2006-01-02T"):len("2006-01-02T15:04:05")], fmt.Sprintf("%.1f°", v.Culmination.Elevation)
		}
		row(w, v.Satellite, v.Peer, cutMark(v.cutS, "<")+v.Start, top, v.End+cutMark(v.cutE, ">"), v.length.Round(time.Second), elevation,
			fmt.Sprintf("%.1f-%.1f ms", v.LightLeast, v.LightMost), volumeText(v.there), volumeText(v.back))
		for _, m := range v.Track {
			row(w, "", "", "  "+m.At, "", "", fmt.Sprintf("az %.2f°", m.Azimuth), fmt.Sprintf("%.2f°", m.Elevation),
				fmt.Sprintf("%.2f ms", m.Light), fmt.Sprintf("%.1f km", m.Range))
		}
	}
}

// cutMark marks an end of a window that is the end of the prediction.
func cutMark(cut bool, mark string) string {
	if cut {
		return mark
	}
	return ""
}

// volumeText prints a number of bytes, and a dash for a way that carries none.
func volumeText(n int64) string {
	if n == 0 {
		return "-"
	}
	return bytesText(n)
}
