package loglimit_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shorthop/shorthop/internal/loglimit"
)

func TestLinesAreLimitedAndCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := loglimit.New()
		written, told := int64(0), int64(0)
		attempts := func(n int) {
			for range n {
				if leftOut, ok := limiter.Allow(); ok {
					written, told = written+1, told+leftOut
				}
			}
		}
		attempts(1000)
		if written != 20 || told != 0 {
			t.Errorf("%d lines at once, which tell of %d others; want 20, 0", written, told)
		}
		time.Sleep(time.Second)
		attempts(1000)
		if written != 22 || told != 980 {
			t.Errorf("a second later %d lines, which tell of %d others; want 22, 980", written, told)
		}
	})
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"":                           "",
		"web-7c97fff775-":            "web-7c97fff775-",
		"two words":                  "two words",
		"a\nb\x00":                   `a\nb\x00`,
		"\x1b[31m":                   `\x1b[31m`,
		`"quoted\`:                   `"quoted\`,
		"\u202egpj.exe":              `\u202egpj.exe`,
		"caf\u00e9":                  `caf\u00e9`,
		"\xff":                       `\xff`,
		strings.Repeat("n", 20):      strings.Repeat("n", 20),
		strings.Repeat("n", 21):      strings.Repeat("n", 17) + "...",
		strings.Repeat("\x00", 20):   strings.Repeat(`\x00`, 3) + `\...`,
		strings.Repeat("n", 1<<20):   strings.Repeat("n", 17) + "...",
		"n" + strings.Repeat("é", 9): `n\u00e9\u00e9\...`,
	} {
		if got := loglimit.Quote(value, 20); got != want {
			t.Errorf("%.30q: got %q, want %q", value, got, want)
		}
	}
}
