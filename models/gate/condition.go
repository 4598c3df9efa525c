package gate

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Condition compares a metric with a threshold, in the words of Sedna's job
// files: operator, threshold, metric.
type Condition struct {
	Operator  string  `json:"operator" toml:"operator"`
	Threshold float64 `json:"threshold" toml:"threshold"`
	Metric    string  `json:"metric" toml:"metric"`
}

// operators are those of Sedna, each under its sign and its word.
var operators = [][]string{{">", "gt"}, {">=", "ge"}, {"==", "eq", "="}, {"!=", "ne"}, {"<=", "le"}, {"<", "lt"}}

// sign returns the sign of an operator, or "" when there is no such operator.
func sign(operator string) string {
	for _, names := range operators {
		if slices.Contains(names, operator) {
			return names[0]
		}
	}
	return ""
}

// Validate reports the first thing in c that cannot work, given the names of the
// metrics that there are.
func (c Condition) Validate(metrics []string) error {
	switch {
	case sign(c.Operator) == "":
		return fmt.Errorf("operator %.20q is unknown; use one of %s", c.Operator, listed(operators))
	case !slices.Contains(metrics, c.Metric):
		return fmt.Errorf("metric %.40q is unknown; use one of %s", c.Metric, strings.Join(metrics, ", "))
	case math.IsNaN(c.Threshold) || math.IsInf(c.Threshold, 0):
		return fmt.Errorf("threshold is %v, want a number", c.Threshold)
	}
	return nil
}

func listed(operators [][]string) string {
	var all []string
	for _, names := range operators {
		all = append(all, names...)
	}
	return strings.Join(all, " ")
}

// Holds tells whether value, which is the metric's, meets c. As in Sedna, what
// differs by less than a millionth is equal. No number meets no condition.
func (c Condition) Holds(value float64) bool {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return false
	}
	equal := math.Abs(value-c.Threshold) < 1e-6
	switch sign(c.Operator) {
	case ">":
		return !equal && value > c.Threshold
	case ">=":
		return equal || value > c.Threshold
	case "==":
		return equal
	case "!=":
		return !equal
	case "<=":
		return equal || value < c.Threshold
	case "<":
		return !equal && value < c.Threshold
	}
	return false
}
