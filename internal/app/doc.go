// Package app puts the webhook together and runs it.
//
//	options.go      flags, their defaults and their validation; detect.go those of the detector
//	logging.go      one logger for us and for the libraries
//	app.go          what is built from the options
//	cluster.go      the connection to the API server, and what the server takes from it
//	incluster.go    ... with a cluster
//	standalone.go   ... without one, and what cannot do without
//	serve.go        plain HTTP servers
//	shutdown.go     what happens between a signal and the exit
//	check.go        the command check
package app
