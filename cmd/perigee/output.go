package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// format is the value of the flag -o.
type format string

// Output formats.
const (
	formatTable format = "table"
	formatJSON  format = "json"
)

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "format" }

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	if s != string(formatTable) && s != string(formatJSON) {
		return fmt.Errorf("%q is neither table nor json", s)
	}
	*f = format(s)
	return nil
}

// formatOf looks for -o json in args before they are parsed, so that even an error
// in the flags is reported in the form that was asked for.
func formatOf(args []string) format {
	for i, arg := range args {
		switch arg {
		case "--":
			return formatTable
		case "-ojson", "-o=json", "--output=json":
			return formatJSON
		case "-o", "--output":
			if i+1 < len(args) && args[i+1] == "json" {
				return formatJSON
			}
		}
	}
	return formatTable
}

// print writes data: v as JSON, or what table writes in columns that are
// separated by tabs.
func (e *env) print(v any, table func(io.Writer)) error {
	if e.output == formatJSON {
		enc := json.NewEncoder(e.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return printed(enc.Encode(v))
	}
	w := tabwriter.NewWriter(e.out, 0, 8, 2, ' ', 0)
	table(w)
	return printed(w.Flush())
}

func printed(err error) error {
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// row writes one line of a table.
func row(w io.Writer, cells ...any) {
	text := make([]string, len(cells))
	for i, c := range cells {
		text[i] = fmt.Sprint(c)
	}
	fmt.Fprintln(w, strings.Join(text, "\t"))
}
