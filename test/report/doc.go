// Package report opens the page of advise -o html in a real Chromium.
package report
