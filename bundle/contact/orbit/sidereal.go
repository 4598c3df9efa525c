package orbit

import (
	"math"
	"time"
)

// unix2000 is the Unix time of J2000, 2000-01-01T12:00:00Z.
const unix2000 = 946728000

// seconds since an epoch in Unix time.
func seconds(t time.Time, epoch int64) float64 {
	return float64(t.Unix()-epoch) + float64(t.Nanosecond())/1e9
}

// daysSince1900 counts days from 1899-12-31T12:00:00Z, as the expressions for Sun and
// Moon do. It goes by way of a Julian date in one number, which is good to 40
// microseconds: on the most eccentric orbit of the published vectors that is 4 mm,
// and they were computed so.
func daysSince1900(t time.Time) float64 {
	const unixEpoch, noon1900 = 2440587.5, 2415020
	julian := unixEpoch + seconds(t, 0)/86400
	return julian - noon1900
}

// sidereal returns the angle of Greenwich at t in radians, from 0 to below 2 pi:
// Greenwich mean sidereal time by the expression of 1982, with UTC for UT1.
func sidereal(t time.Time) float64 { return siderealAt(seconds(t, unix2000)) }

// siderealAt is sidereal for a time in seconds since J2000.
func siderealAt(s float64) float64 {
	c := s / 86400 / 36525 // centuries
	angle := 67310.54841 + c*(876600*3600+8640184.812866+c*(0.093104-c*6.2e-6))
	angle = math.Mod(angle*degree/240, twoPi)
	if angle < 0 {
		angle += twoPi
	}
	return angle
}
