package darknet

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Limits on configuration files.
const (
	MaxConfig   = 1 << 20 // bytes
	maxSections = 512
	maxOptions  = 64 // of one section
)

// section is one [name] of a configuration with its options.
type section struct {
	name    string
	line    int
	options map[string]string
}

// parseSections reads the lines of a configuration: "[name]", "key = value",
// comments that begin with # or ;, and blanks.
func parseSections(text []byte) ([]section, error) {
	if len(text) > MaxConfig {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrConfig, len(text), MaxConfig)
	}
	var sections []section
	scan := bufio.NewScanner(bytes.NewReader(text))
	line := 0
	for scan.Scan() {
		line++
		s := strings.TrimSpace(scan.Text())
		if s == "" || s[0] == '#' || s[0] == ';' {
			continue
		}
		if s[0] == '[' {
			name, ok := strings.CutSuffix(s[1:], "]")
			if !ok || name == "" || len(sections) == maxSections {
				return nil, fmt.Errorf("%w: line %d: %.40q is not a section, or one of more than %d", ErrConfig, line, s, maxSections)
			}
			sections = append(sections, section{name: name, line: line, options: make(map[string]string)})
			continue
		}
		if err := addOption(sections, s); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrConfig, line, err)
		}
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("%w: after line %d: %w", ErrConfig, line, err)
	}
	return sections, nil
}

func addOption(sections []section, text string) error {
	key, value, ok := strings.Cut(text, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if !ok || key == "" {
		return fmt.Errorf("%.40q is not key=value", text)
	}
	if len(sections) == 0 {
		return fmt.Errorf("option %.40q comes before any section", key)
	}
	options := sections[len(sections)-1].options
	if _, twice := options[key]; twice {
		return fmt.Errorf("option %.40q is given twice", key)
	}
	if len(options) == maxOptions {
		return fmt.Errorf("section has more than %d options", maxOptions)
	}
	options[key] = value
	return nil
}

// number returns an option as a whole number, or fallback when it is absent.
func (s *section) number(key string, fallback int) (int, error) {
	text, ok := s.options[key]
	if !ok {
		return fallback, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("option %s=%.40q is not a whole number", key, text)
	}
	return int(n), nil
}

// numbers returns an option as a list of numbers separated by commas.
func (s *section) numbers(key string, limit int) ([]float64, error) {
	text, ok := s.options[key]
	if !ok {
		return nil, fmt.Errorf("option %s is missing", key)
	}
	parts := strings.Split(text, ",")
	if len(parts) > limit {
		return nil, fmt.Errorf("option %s lists %d numbers, limit %d", key, len(parts), limit)
	}
	var list []float64
	for _, p := range parts {
		v, err := strconv.ParseFloat(strings.TrimSpace(p), 32)
		if err != nil {
			return nil, fmt.Errorf("option %s: %.40q is not a number", key, p)
		}
		list = append(list, v)
	}
	return list, nil
}

// integers is numbers for whole ones.
func (s *section) integers(key string, limit int) ([]int, error) {
	list, err := s.numbers(key, limit)
	if err != nil {
		return nil, err
	}
	whole := make([]int, len(list))
	for i, v := range list {
		whole[i] = int(v)
		if float64(whole[i]) != v {
			return nil, fmt.Errorf("option %s: %g is not a whole number", key, v)
		}
	}
	return whole, nil
}
