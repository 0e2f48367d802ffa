// Package app puts the webhook together and runs it.
//
//	options.go   flags, their defaults and their validation
//	logging.go   one logger for us and for the libraries
//	cluster.go   the connection to the API server, and what cannot do without
//	app.go       what is built from the options, and the order in which it runs and ends
//	serve.go     plain HTTP servers
//	shutdown.go  signals
package app
