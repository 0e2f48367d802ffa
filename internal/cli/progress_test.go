package cli

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

func TestProgressIsToldOnceItTakesLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&Streams{Err: &out})
		p.now("the first thing")
		time.Sleep(slow / 2)
		p.now("the second thing")
		time.Sleep(slow)
		synctest.Wait()
		p.now("the third thing")
		p.stop()
		const want = "kubectl-shorthop: looking at the second thing\nkubectl-shorthop: looking at the third thing\n"
		if got := out.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestProgressOfSomethingShortIsSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&Streams{Err: &out})
		p.now("the only thing")
		p.stop()
		time.Sleep(2 * slow)
		synctest.Wait()
		if out.Len() > 0 {
			t.Errorf("got %q", out.String())
		}
	})
}

func TestHowFarACommandIsIsToldEveryNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&Streams{Err: &out})
		defer p.stop()
		for page := range 10 {
			p.far("page %d", page)
			time.Sleep(slow / 4)
		}
		const want = "kubectl-shorthop: page 4\nkubectl-shorthop: page 8\n"
		if got := out.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
