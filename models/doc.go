// Package models holds what a satellite computes on board: networks as immutable
// values named by their content, pictures as tensors, detections and how good
// they are, and an Engine that runs a network.
//
// A Network is folded: batch normalisation is multiplied into the weights and
// biases when a network is imported, so every convolution and dense layer has a
// weight matrix and a bias per filter and nothing else. A change of model is then
// a difference of weights and biases.
//
// A Network is cut in two: a backbone that stays, and a head that is retrained
// on the ground and replaced in flight. Hashes name the two and the whole.
//
// An Engine is compiled: NewEngine turns the layers into steps over maps whose
// channels lie side by side (program.go), gives every map a place in one arena for
// as long as it is read (memory.go), and packs the weights for the kernels in
// models/internal/kernel.
//
// The package refuses to know bundles, links, sockets and the wall clock. An
// Engine starts goroutines only within a call and waits for them.
package models
