// Package admission answers AdmissionReviews of pods over HTTP.
//
// The life of a review: handler.go takes the request apart and guards against
// everything that can go wrong, decode.go reads the review in one pass,
// package mutate decides and builds the patch, and encode.go writes the
// answer. Nothing here reads files or talks to the network except through
// Namespaces.
package admission
