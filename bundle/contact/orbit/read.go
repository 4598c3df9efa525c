package orbit

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits on files of elements.
const (
	// MaxElements is the most element sets of one file.
	MaxElements = 100_000
	// MaxFile is the longest file of elements in bytes.
	MaxFile = 128 << 20
)

// Read reads element sets in the forms in which they are handed out. It tells them
// apart by how they begin: two-line element sets, with or without a line of the name
// before; and orbit mean-elements messages (CCSDS 502.0-B) as key = value, JSON, CSV
// or XML. A file has one form. Errors wrap ErrElements and name the satellite or the
// line; those of r are returned as they are.
func Read(r io.Reader) ([]Elements, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading elements: %w", err)
	}
	if len(text) > MaxFile {
		return nil, fmt.Errorf("%w: the file has more than %d bytes", ErrElements, MaxFile)
	}
	text = bytes.TrimLeft(bytes.TrimPrefix(text, []byte("\ufeff")), " \t\r\n")
	first, _, _ := bytes.Cut(text, []byte("\n"))
	parse := readTLE
	switch {
	case len(text) == 0:
	case text[0] == '<':
		parse = readXML
	case text[0] == '[' || text[0] == '{':
		parse = readJSON
	case bytes.Contains(first, []byte("MEAN_MOTION")) && bytes.Contains(first, []byte(",")):
		parse = readCSV
	case bytes.HasPrefix(first, []byte("CCSDS_OMM_VERS")) || bytes.HasPrefix(first, []byte("COMMENT")):
		parse = readKVN
	}
	all, err := parse(text)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%w: the file has none", ErrElements)
	}
	return all, err
}

// collect adds the elements of m to all.
func collect(all []Elements, m message) ([]Elements, error) {
	if len(all) == MaxElements {
		return nil, fmt.Errorf("%w: the file has more than %d element sets", ErrElements, MaxElements)
	}
	e, err := m.elements()
	if err != nil {
		return nil, err
	}
	return append(all, e), nil
}

// readTLE reads two-line element sets. A line before the two of a set, if there is
// one, is the name, from which a leading "0 " is taken away.
func readTLE(text []byte) ([]Elements, error) {
	var all []Elements
	var name, first string
	number := 0
	for line := range bytes.Lines(text) {
		number++
		l := strings.TrimRight(string(line), " \t\r\n")
		switch {
		case l == "" || l[0] == '#':
		case first != "":
			e, err := ParseTLE(first, l)
			if err != nil {
				return nil, fmt.Errorf("%w, at line %d of the file", err, number)
			}
			if len(all) == MaxElements {
				return nil, fmt.Errorf("%w: the file has more than %d element sets", ErrElements, MaxElements)
			}
			e.Name = name
			all = append(all, e)
			name, first = "", ""
		case strings.HasPrefix(l, "1 ") && len(l) >= tleLine:
			first = l
		case name != "" || len(l) > 2*tleLine:
			return nil, fmt.Errorf("%w: line %d of the file, %.30q, is neither a name nor of a two-line element set", ErrElements, number, l)
		default:
			name = strings.TrimSpace(strings.TrimPrefix(l, "0 "))
		}
	}
	if first != "" || name != "" {
		return nil, fmt.Errorf("%w: the file ends in the middle of a two-line element set", ErrElements)
	}
	return all, nil
}

// readKVN reads messages as lines of KEY = VALUE [UNIT].
func readKVN(text []byte) ([]Elements, error) {
	var all []Elements
	var m message
	number := 0
	for line := range bytes.Lines(text) {
		number++
		l := strings.TrimSpace(string(line))
		if l == "" || strings.HasPrefix(l, "COMMENT") {
			continue
		}
		key, value, ok := strings.Cut(l, "=")
		if !ok {
			return nil, fmt.Errorf("%w: line %d of the file, %.30q, is not KEY = VALUE", ErrElements, number, l)
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if unit := strings.LastIndexByte(value, '['); unit > 0 && strings.HasSuffix(value, "]") {
			value = strings.TrimSpace(value[:unit])
		}
		if key == "CCSDS_OMM_VERS" {
			if m != nil {
				var err error
				if all, err = collect(all, m); err != nil {
					return nil, err
				}
			}
			m = message{}
		}
		if m == nil {
			return nil, fmt.Errorf("%w: line %d of the file comes before CCSDS_OMM_VERS", ErrElements, number)
		}
		m[key] = value
	}
	if m == nil {
		return nil, fmt.Errorf("%w: the file has no CCSDS_OMM_VERS", ErrElements)
	}
	return collect(all, m)
}

// readJSON reads one message or a list of them, with numbers as such or as text.
func readJSON(text []byte) ([]Elements, error) {
	var list []map[string]any
	if text[0] == '{' {
		text = append(append([]byte{'['}, text...), ']')
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&list); err != nil {
		return nil, fmt.Errorf("%w: JSON: %w", ErrElements, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: JSON: something follows the list", ErrElements)
	}
	var all []Elements
	for _, object := range list {
		m := message{}
		for key, value := range object {
			switch v := value.(type) {
			case string:
				m[key] = v
			case json.Number:
				m[key] = v.String()
			}
		}
		var err error
		if all, err = collect(all, m); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// readCSV reads a table whose first line has the keywords.
func readCSV(text []byte) ([]Elements, error) {
	table := csv.NewReader(bytes.NewReader(text))
	table.ReuseRecord = true
	keys, err := table.Read()
	if err != nil {
		return nil, fmt.Errorf("%w: CSV: %w", ErrElements, err)
	}
	keys = append([]string(nil), keys...)
	var all []Elements
	for {
		values, err := table.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: CSV: %w", ErrElements, err)
		}
		m := message{}
		for i, key := range keys {
			m[strings.TrimSpace(key)] = strings.TrimSpace(values[i])
		}
		if all, err = collect(all, m); err != nil {
			return nil, err
		}
	}
}

// readXML reads messages, alone or in an ndm. Only the names of the elements that hold
// text count.
func readXML(text []byte) ([]Elements, error) {
	var all []Elements
	var m message
	var value strings.Builder
	decoder := xml.NewDecoder(bufio.NewReader(bytes.NewReader(text)))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: XML: %w", ErrElements, err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			value.Reset()
			if token.Name.Local == "segment" {
				m = message{}
			}
		case xml.CharData:
			value.Write(token)
		case xml.EndElement:
			if token.Name.Local == "segment" {
				if all, err = collect(all, m); err != nil {
					return nil, err
				}
				m = nil
			} else if text := strings.TrimSpace(value.String()); m != nil && text != "" {
				m[token.Name.Local] = text
			}
			value.Reset()
		}
	}
}
