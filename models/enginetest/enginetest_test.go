package enginetest

import (
	"testing"

	"perigee/models"
)

func TestDefaultEngine(t *testing.T) { Run(t, models.NewEngine) }
