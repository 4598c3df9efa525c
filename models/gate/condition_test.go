package gate

import (
	"math"
	"strings"
	"testing"
)

func TestOperators(t *testing.T) {
	for operator, want := range map[string][3]bool{ // below, at and above 5
		">": {false, false, true}, "gt": {false, false, true}, ">=": {false, true, true}, "ge": {false, true, true},
		"==": {false, true, false}, "eq": {false, true, false}, "=": {false, true, false},
		"!=": {true, false, true}, "ne": {true, false, true},
		"<=": {true, true, false}, "le": {true, true, false}, "<": {true, false, false}, "lt": {true, false, false},
		"above": {},
	} {
		c := Condition{Operator: operator, Threshold: 5}
		for i, value := range []float64{4, 5, 6} {
			if c.Holds(value) != want[i] {
				t.Errorf("%v %s 5 is %v", value, operator, c.Holds(value))
			}
		}
	}
}

func TestNoNumberMeetsNoCondition(t *testing.T) {
	for _, operators := range operators {
		c := Condition{Operator: operators[0], Threshold: 0}
		for _, value := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			if c.Holds(value) {
				t.Errorf("%v %s 0 holds", value, c.Operator)
			}
		}
	}
}

func TestConditionNamesWhatIsKnown(t *testing.T) {
	for want, c := range map[string]Condition{
		"one of > gt >= ge == eq = != ne <= le < lt": {"above", 1, "f1"},
		"one of f1, recall":                          {">", 1, "accuracy"},
		"threshold is NaN":                           {">", math.NaN(), "f1"},
	} {
		if err := c.Validate([]string{"f1", "recall"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", c, err, want)
		}
	}
	if err := (Condition{">=", 1, "recall"}).Validate([]string{"f1", "recall"}); err != nil {
		t.Error(err)
	}
}
