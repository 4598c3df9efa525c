package agent

import (
	"fmt"
	"math"

	"perigee/bundle/dtntime"
)

// Spacecraft is a small physical model of the satellite's power and heat: what
// its telemetry reports in place of sensors. It is a function of time, the
// computer's duty and a seed, so it goes on after a restart as if there was none.
type Spacecraft struct {
	Period     dtntime.Duration `toml:"period"`      // of one orbit; 94m36s
	Eclipse    float64          `toml:"eclipse"`     // share of an orbit in the Earth's shadow; 0.36
	CapacityWh float64          `toml:"capacity_wh"` // of the battery; 118
	PanelW     float64          `toml:"panel_w"`     // power of the panels in the sun; 60
	BusW       float64          `toml:"bus_w"`       // load that is always there; 22
	ComputeW   float64          `toml:"compute_w"`   // further load while the network runs; 12
	RadioJMB   float64          `toml:"radio_j_mb"`  // energy to send a megabyte, in J; 4
	Seed       uint64           `toml:"seed"`        // phase of the orbit and noise of the sensors
}

// DefaultSpacecraft returns a 25 kg satellite in an orbit of 500 km.
func DefaultSpacecraft() Spacecraft {
	return Spacecraft{
		Period: 94*dtntime.Minute + 36*dtntime.Second, Eclipse: 0.36,
		CapacityWh: 118, PanelW: 60, BusW: 22, ComputeW: 12, RadioJMB: 4,
	}
}

// Temperatures in degrees Celsius that the body tends to in the sun and in the
// shadow, and how fast it does, as a share of the difference every second.
const (
	sunWarmth    = 38.0
	shadowWarmth = -12.0
	heatPerWatt  = 0.25
	heatRate     = 1.0 / 1500
)

// Vitals are the spacecraft's sensors at one time.
type Vitals struct {
	Battery     float64 // charge over capacity, 0 to 1
	Temperature float64 // degrees Celsius
	Sunlit      bool
}

func (s Spacecraft) validate() error {
	switch {
	case s.Period < dtntime.Minute || s.Period > 30*dtntime.Day:
		return fmt.Errorf("spacecraft.period is %v, want 1m to 720h", s.Period)
	case !(s.Eclipse >= 0 && s.Eclipse < 1):
		return fmt.Errorf("spacecraft.eclipse is %v, want 0 to below 1", s.Eclipse)
	case !(s.CapacityWh > 0 && s.CapacityWh <= 1e6):
		return fmt.Errorf("spacecraft.capacity_wh is %v, want above 0", s.CapacityWh)
	}
	if !(s.RadioJMB >= 0 && s.RadioJMB <= 1e6) {
		return fmt.Errorf("spacecraft.radio_j_mb is %v, want 0 to 1000000", s.RadioJMB)
	}
	for _, w := range []float64{s.PanelW, s.BusW, s.ComputeW} {
		if !(w >= 0 && w <= 1e6) {
			return fmt.Errorf("spacecraft: a power of %v W, want 0 to 1000000", w)
		}
	}
	return nil
}

// steps is into how many parts an orbit is cut, and orbits how many are followed
// to reach the state that the spacecraft is in when nothing changes.
const (
	steps  = 240
	orbits = 4
)

// At returns the sensors at time now when the network runs for a share duty of
// the time, 0 to 1. It follows the last orbits from a battery that was full.
func (s Spacecraft) At(now dtntime.Time, duty float64) Vitals {
	period := s.Period
	phase := dtntime.Duration(mix(s.Seed) % uint64(period))
	into := dtntime.Duration(uint64(now.Add(phase)) % uint64(period))
	dt := float64(period) / 1000 / steps
	load := s.BusW + s.ComputeW*min(max(duty, 0), 1)
	v := Vitals{Battery: 1, Temperature: 15}
	last := orbits*steps + int(uint64(into)*steps/uint64(period))
	for i := range last + 1 {
		v.Sunlit = float64(i%steps)/steps >= s.Eclipse
		power, tends := -load, shadowWarmth
		if v.Sunlit {
			power, tends = s.PanelW-load, sunWarmth
		}
		v.Battery = min(max(v.Battery+power*dt/3600/s.CapacityWh, 0), 1)
		tends += heatPerWatt * load
		v.Temperature += (tends - v.Temperature) * (1 - math.Exp(-dt*heatRate))
	}
	v.Temperature += noise(s.Seed, now)
	return v
}

// noise is the sensor's, within half a degree, the same for the same moment.
func noise(seed uint64, now dtntime.Time) float64 {
	return float64(mix(seed^mix(uint64(now)))>>11)/(1<<53) - 0.5
}

// mix scatters the bits of x: the finaliser of SplitMix64 (Steele, Lea and Flood,
// "Fast splittable pseudorandom number generators", 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
