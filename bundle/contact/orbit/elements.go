package orbit

import (
	"errors"
	"fmt"
	"time"
)

// ErrElements is wrapped by every error about an element set.
var ErrElements = errors.New("invalid element set")

// Elements are the mean elements of an orbit at an epoch, as SGP4 takes them: those
// of a two-line element set or an orbit mean-elements message (CCSDS 502.0-B).
type Elements struct {
	// Name and ID, the international designator such as "1998-067A", may be
	// empty.
	Name, ID string
	// Catalog is the number in the catalogue of satellites (NORAD), 0 for none.
	Catalog uint32
	Epoch   time.Time
	// MeanMotion is in revolutions a day, by Kozai's definition.
	MeanMotion   float64
	Eccentricity float64
	// In degrees: Inclination, right ascension of the ascending Node, argument
	// of Perigee, mean Anomaly.
	Inclination, Node, Perigee, Anomaly float64
	// Drag is B*, in units of one by the radius of the Earth.
	Drag float64
}

// String names the satellite.
func (e Elements) String() string {
	switch {
	case e.Name != "" && e.Catalog != 0:
		return fmt.Sprintf("%s (%d)", e.Name, e.Catalog)
	case e.Name != "":
		return e.Name
	}
	return fmt.Sprintf("satellite %d", e.Catalog)
}

// Limits of epochs: those of the two digits for the year in a two-line element set.
const firstYear, lastYear = 1957, 2056

// check tells whether the elements are those of an orbit.
func (e Elements) check() error {
	// Written so that what is no number fails as well.
	switch {
	case !(e.MeanMotion > 0 && e.MeanMotion < 20):
		return fmt.Errorf("mean motion of %v revolutions a day is not above 0 and below 20", e.MeanMotion)
	case !(e.Eccentricity >= 0 && e.Eccentricity < 1):
		return fmt.Errorf("eccentricity %v is not from 0 to below 1", e.Eccentricity)
	case !(e.Inclination >= 0 && e.Inclination <= 180):
		return fmt.Errorf("inclination of %v degrees is not from 0 to 180", e.Inclination)
	case !(e.Node >= -360 && e.Node <= 360):
		return fmt.Errorf("right ascension of the ascending node, %v degrees, is not from -360 to 360", e.Node)
	case !(e.Perigee >= -360 && e.Perigee <= 360):
		return fmt.Errorf("argument of perigee, %v degrees, is not from -360 to 360", e.Perigee)
	case !(e.Anomaly >= -360 && e.Anomaly <= 360):
		return fmt.Errorf("mean anomaly of %v degrees is not from -360 to 360", e.Anomaly)
	case !(e.Drag > -100 && e.Drag < 100):
		return fmt.Errorf("drag term %v is not between -100 and 100", e.Drag)
	case e.Epoch.Year() < firstYear || e.Epoch.Year() > lastYear:
		return fmt.Errorf("epoch %s is not in the years %d to %d", e.Epoch.Format(time.RFC3339), firstYear, lastYear)
	}
	return nil
}
