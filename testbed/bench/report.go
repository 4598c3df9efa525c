package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/google/renameio/v2"
)

// result is a figure and its verdict, as it is written. Reference and Ratio are
// absent when there is nothing to compare with. Ratio is Value in units of
// Reference. A result without a bar passes.
type result struct {
	Name      string   `json:"name"`
	Value     float64  `json:"value"`
	Unit      string   `json:"unit"`
	Reference *float64 `json:"reference"`
	Ratio     *float64 `json:"ratio"`
	Bar       string   `json:"bar"`
	Pass      bool     `json:"pass"`
	Note      string   `json:"note,omitempty"`
}

func judged(f figure, b bar) result {
	r := result{Name: f.name, Value: f.value, Unit: f.unit, Bar: b.String(), Pass: b.judge(f), Note: f.note}
	if f.reference != 0 {
		ratio := f.ratio()
		r.Reference, r.Ratio = &f.reference, &ratio
	}
	return r
}

// writeResults puts results into the file, in the place of older ones with their
// names. Others in the file are kept, so that a part may be measured again.
func writeResults(file string, results []result) error {
	all, err := readResults(file)
	if err != nil {
		return err
	}
	for _, r := range results {
		i := slices.IndexFunc(all, func(old result) bool { return old.Name == r.Name })
		if i < 0 {
			all = append(all, r)
		} else {
			all[i] = r
		}
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("making the folder of %s: %w", file, err)
	}
	if err := renameio.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}

// readResults reads the results in the file, none when there is no file.
func readResults(file string) ([]result, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return []result{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the results so far: %w", err)
	}
	results := []result{}
	if err := json.Unmarshal(text, &results); err != nil {
		return nil, fmt.Errorf("reading the results so far in %s: %w; move the file away", file, err)
	}
	return results, nil
}

// printTable prints results for people.
func printTable(w io.Writer, results []result) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "name\tvalue\tunit\treference\tratio\t  bar\t\t")
	for _, r := range results {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t  %s\t%s\t\n",
			r.Name, number(&r.Value), r.Unit, number(r.Reference), number(r.Ratio), r.Bar, r.verdict())
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("printing the results: %w", err)
	}
	return nil
}

func (r result) verdict() string {
	switch {
	case r.Bar == "":
		return ""
	case r.Pass:
		return "pass"
	}
	return "MISSED"
}

// number writes a number with three digits or all before the point.
func number(x *float64) string {
	switch {
	case x == nil:
		return "-"
	case *x >= 100 || *x <= -100:
		return strconv.FormatFloat(*x, 'f', 0, 64)
	}
	return strconv.FormatFloat(*x, 'g', 3, 64)
}

// printList prints what can be measured.
func printList(w io.Writer, chosen []measure) error {
	for _, m := range chosen {
		if _, err := fmt.Fprintf(w, "%-20s %s\n", m.name, m.what); err != nil {
			return err
		}
		for _, name := range sortedNames(m.bars) {
			if _, err := fmt.Fprintf(w, "%20s %s: %s\n", "", name, m.bars[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

func sortedNames(bars map[string]bar) []string {
	names := make([]string, 0, len(bars))
	for name := range bars {
		names = append(names, name)
	}
	slices.SortFunc(names, strings.Compare)
	return names
}
