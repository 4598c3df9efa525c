package orbit

import "math"

// Vector is a place in kilometres or a velocity in kilometres a second.
type Vector struct{ X, Y, Z float64 }

// Add returns v+w.
func (v Vector) Add(w Vector) Vector { return Vector{v.X + w.X, v.Y + w.Y, v.Z + w.Z} }

// Sub returns v-w.
func (v Vector) Sub(w Vector) Vector { return Vector{v.X - w.X, v.Y - w.Y, v.Z - w.Z} }

// Scale returns v times k.
func (v Vector) Scale(k float64) Vector { return Vector{v.X * k, v.Y * k, v.Z * k} }

// Dot returns the scalar product of v and w.
func (v Vector) Dot(w Vector) float64 { return v.X*w.X + v.Y*w.Y + v.Z*w.Z }

// Norm returns the length of v.
func (v Vector) Norm() float64 { return math.Sqrt(v.Dot(v)) }

// State is the place and the velocity of a satellite in the frame of its elements,
// TEME: true equator and mean equinox of the date.
type State struct{ Position, Velocity Vector }
