package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/contact/orbit"
	"perigee/bundle/contact/predict"
)

// maxNetwork is the longest network file in bytes.
const maxNetwork = 4 << 20

// networkFile describes satellites and stations for a prediction.
type networkFile struct {
	Satellite []satelliteEntry `toml:"satellite"`
	Station   []stationEntry   `toml:"station"`
	Crosslink struct {
		Range  float64 `toml:"range"`  // km
		Height float64 `toml:"height"` // km
	} `toml:"crosslink"`
}

type satelliteEntry struct {
	Node    bundle.EID `toml:"node"`
	Name    string     `toml:"name"`    // in the elements
	Catalog uint32     `toml:"catalog"` // in the elements
	Down    bitRate    `toml:"down"`
	Up      bitRate    `toml:"up"`
	Cross   bitRate    `toml:"cross"`
}

type stationEntry struct {
	Node bundle.EID `toml:"node"`
	Name string     `toml:"name"` // for people
	Lat  *float64   `toml:"lat"`
	Lon  *float64   `toml:"lon"`
	Alt  float64    `toml:"alt"`  // metres
	Mask any        `toml:"mask"` // degrees, or a list of [azimuth, elevation]
}

// readNetwork reads a network file.
func readNetwork(r io.Reader) (networkFile, error) {
	var n networkFile
	text, err := io.ReadAll(io.LimitReader(r, maxNetwork+1))
	switch {
	case err != nil:
		return n, fmt.Errorf("reading the network: %w", err)
	case len(text) > maxNetwork:
		return n, fmt.Errorf("%w: the network has more than %d bytes", errMalformed, maxNetwork)
	}
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&n); err != nil {
		return n, fmt.Errorf("%w: %w", errMalformed, explainTOML(err))
	}
	return n, nil
}

// explainTOML says where in a file a mistake is.
func explainTOML(err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		row, column := strict.Errors[0].Position()
		return fmt.Errorf("%d:%d: unknown key %q; see docs/contacts.md for those that exist", row, column, strings.Join(strict.Errors[0].Key(), "."))
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		row, column := decode.Position()
		return fmt.Errorf("%d:%d: %s", row, column, strings.TrimPrefix(decode.Error(), "toml: "))
	}
	return err
}

// parseSatellite reads NODE or NODE=NAME-OR-NUMBER.
func parseSatellite(text string) (satelliteEntry, error) {
	node, which, _ := strings.Cut(text, "=")
	var s satelliteEntry
	var err error
	if s.Node, err = bundle.ParseEID(node); err != nil {
		return s, usagef("--satellite %q: %w; write NODE=NAME or NODE=NUMBER, such as ipn:2.0=25544", text, err)
	}
	if number, err := strconv.ParseUint(which, 10, 32); err == nil {
		s.Catalog = uint32(number)
	} else {
		s.Name = which
	}
	return s, nil
}

// parseStation reads NODE=LAT,LON[,ALT[,MASK]].
func parseStation(text string) (stationEntry, error) {
	node, place, _ := strings.Cut(text, "=")
	var s stationEntry
	wrong := func(err error) (stationEntry, error) {
		return s, usagef("--station %q: %w; write NODE=LATITUDE,LONGITUDE[,METRES[,MASK]], such as ipn:1.0=78.23,15.39,450,5", text, err)
	}
	var err error
	if s.Node, err = bundle.ParseEID(node); err != nil {
		return wrong(err)
	}
	var n [4]float64
	fields := strings.Split(place, ",")
	if len(fields) < 2 || len(fields) > len(n) {
		return wrong(fmt.Errorf("%d numbers", len(fields)))
	}
	for i, f := range fields {
		if n[i], err = strconv.ParseFloat(strings.TrimSpace(f), 64); err != nil {
			return wrong(fmt.Errorf("%q is not a number", f))
		}
	}
	s.Lat, s.Lon, s.Alt, s.Mask = &n[0], &n[1], n[2], n[3]
	return s, nil
}

// ground makes a station ready.
func (s stationEntry) ground() (predict.Station, error) {
	if s.Lat == nil || s.Lon == nil {
		return predict.Station{}, fmt.Errorf("%w: station %s: lat and lon are needed", errMalformed, s.Node)
	}
	mask, err := parseMask(s.Mask)
	if err != nil {
		return predict.Station{}, fmt.Errorf("%w: station %s: %w", errMalformed, s.Node, err)
	}
	g, err := orbit.NewGround(orbit.Site{Latitude: *s.Lat, Longitude: *s.Lon, Altitude: s.Alt / 1000, Mask: mask})
	if err != nil {
		return predict.Station{}, fmt.Errorf("station %s: %w", s.Node, err)
	}
	return predict.Station{Node: s.Node.Node(), Ground: g}, nil
}

// parseMask reads an elevation or a list of azimuths with elevations.
func parseMask(mask any) ([]orbit.Horizon, error) {
	if mask == nil {
		return nil, nil
	}
	if elevation := number(mask); !math.IsNaN(elevation) {
		return []orbit.Horizon{{Elevation: elevation}}, nil
	}
	list, _ := mask.([]any)
	var horizons []orbit.Horizon
	for _, entry := range list {
		pair, ok := entry.([]any)
		if !ok || len(pair) != 2 || math.IsNaN(number(pair[0])) || math.IsNaN(number(pair[1])) {
			return nil, fmt.Errorf("mask: %v is not an azimuth and an elevation; write [[0, 5], [90, 12]]", entry)
		}
		horizons = append(horizons, orbit.Horizon{Azimuth: number(pair[0]), Elevation: number(pair[1])})
	}
	if len(horizons) == 0 {
		return nil, fmt.Errorf("mask: %v is neither an elevation in degrees nor a list such as [[0, 5], [90, 12]]", mask)
	}
	return horizons, nil
}

// number is a number of TOML, or NaN.
func number(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case int64:
		return float64(v)
	}
	return math.NaN()
}

// satellite finds the elements of an entry and makes them ready.
func (s satelliteEntry) satellite(all []orbit.Elements) (predict.Satellite, error) {
	var found []orbit.Elements
	for _, e := range all {
		if (s.Catalog == 0 || s.Catalog == e.Catalog) && (s.Name == "" || strings.EqualFold(s.Name, e.Name)) {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		return predict.Satellite{}, fmt.Errorf("satellite %s: %d of the %d element sets are its own; give its name or its number in the catalogue: %s",
			s.Node, len(found), len(all), someNames(all))
	}
	p, err := orbit.NewPropagator(found[0])
	if err != nil {
		return predict.Satellite{}, err
	}
	return predict.Satellite{
		Node: s.Node.Node(), Orbit: p,
		Down: contact.BitRate(s.Down), Up: contact.BitRate(s.Up), Cross: contact.BitRate(s.Cross),
	}, nil
}

// someNames lists the first satellites.
func someNames(all []orbit.Elements) string {
	const some = 5
	var names []string
	for _, e := range all[:min(len(all), some)] {
		names = append(names, e.String())
	}
	if len(all) > some {
		names = append(names, "...")
	}
	return strings.Join(slices.Compact(names), ", ")
}
