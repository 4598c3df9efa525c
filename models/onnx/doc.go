// Package onnx reads networks from ONNX files, and writes networks as ONNX files.
//
// Reading turns an ONNX graph into layers of package models. Everything that is
// known beforehand is computed at import: constants, shapes and what follows from
// them, such as the target of a reshape. Batch normalisation, biases and scales
// become part of the weights before them, and activations part of their layers.
// What ONNX can say and models cannot is refused with the names of the operator
// and of the node.
//
// Files may come from anywhere: sizes, counts and dimensions have limits, memory
// is bounded by the size of the file, and data outside the file is never opened.
package onnx
