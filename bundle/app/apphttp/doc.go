// Package apphttp carries the application interface of a node over a Unix
// socket: a Server in front of an app.Client, and Dial, which gives the same
// interface on the other side.
//
// It speaks HTTP/1.1. Small bundles share one connection of each client, a pipe,
// on which any number is under way. The payloads of others stream in both
// directions and are never held whole. A delivery lives as long as the connection
// that carries it: the pipe, or the answer that the server holds open behind the
// payload until the client has acknowledged or released it. So a client that dies
// gives its deliveries back at once.
//
// It refuses to know bundles, stores and links beyond the values of package app.
package apphttp
