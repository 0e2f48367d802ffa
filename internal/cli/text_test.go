package cli

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestTablesFitTheTerminal breaks the widest cells between words; names stay whole, so that they can be copied.
func TestTablesFitTheTerminal(t *testing.T) {
	t.Parallel()
	write := func(width int) string {
		var b bytes.Buffer
		rows := text{&b, width}.table("WORKLOAD", "FEATURES", "WHY")
		rows.row("deployment/checkout", "service_host,dns,fallthrough", "no start was seen; the resolver of the image is not known")
		rows.row("pod/shell", "dns", "short")
		rows.row("pod/none", "", "")
		rows.end()
		return b.String()
	}
	const whole = `WORKLOAD             FEATURES                      WHY
deployment/checkout  service_host,dns,fallthrough  no start was seen; the resolver of the image is not known
pod/shell            dns                           short
pod/none                                           
`
	for width, want := range map[int]string{
		0:   whole,
		200: whole,
		108: whole,
		80: `WORKLOAD             FEATURES                      WHY
deployment/checkout  service_host,dns,fallthrough  no start was seen; the
                                                   resolver of the image is not
                                                   known
pod/shell            dns                           short
pod/none                                           
`,
		60: `WORKLOAD             FEATURES           WHY
deployment/checkout  service_host,dns,  no start was seen;
                     fallthrough        the resolver of the
                                        image is not known
pod/shell            dns                short
pod/none                                
`,
		// No narrower than the longest words.
		20: `WORKLOAD             FEATURES       WHY
deployment/checkout  service_host,  no start
                     dns,           was
                     fallthrough    seen;
                                    the
                                    resolver
                                    of the
                                    image is
                                    not
                                    known
pod/shell            dns            short
pod/none                            
`,
	} {
		got := write(width)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("width %d (-want +got):\n%s", width, diff)
		}
		for line := range strings.Lines(got) {
			if n := len(strings.TrimRight(line, " \n")); width >= 60 && n > width {
				t.Errorf("width %d: a line of %d: %s", width, n, line)
			}
		}
	}
}

// TestWidth asks a terminal, and nothing else.
func TestWidth(t *testing.T) {
	t.Parallel()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("this system has no pseudoterminals at /dev/ptmx")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 72}); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for want, s := range map[int]Streams{72: {Out: terminal}, 0: {Out: file}} {
		if got := s.width(); got != want {
			t.Errorf("%s: width %d, want %d", s.Out.(*os.File).Name(), got, want)
		}
	}
	if got := (&Streams{Out: &bytes.Buffer{}}).width(); got != 0 {
		t.Errorf("a buffer: width %d", got)
	}
}
