// Package orbit tells where satellites are and when they can be seen: mean
// elements in, positions by SGP4 and SDP4, and passes over ground stations and
// sights between satellites out.
//
// It owns the theory of motion, the formats of element sets and the geometry. All
// of it is pure: time is an argument, and nothing is kept between calls. It refuses
// to know bundles, nodes and rates.
//
// Lengths are in kilometres, angles in degrees, velocities in kilometres a second,
// unless a name says otherwise. Times are UTC; UT1 is taken to be UTC, from which it
// never differs by a second, and the motion of the pole is left out. A fresh element
// set is good to about 1 km, and loses 1 to 3 km a day in a low orbit, which is far
// more than both.
package orbit
