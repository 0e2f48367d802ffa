package admission_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/internal/admission"
)

// logLines collects what is logged, at every level.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) logger() logr.Logger { return l.withVerbosity(10) }

func (l *logLines) withVerbosity(level int) logr.Logger {
	return funcr.New(func(_, line string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lines = append(l.lines, line)
	}, funcr.Options{Verbosity: level})
}

// TestLogOfARefusal says what was no review. TestAnswers has the line for every kind of review.
func TestLogOfARefusal(t *testing.T) {
	t.Parallel()
	var log logLines
	newServer(t, policyNodeLocal, withLog(log.logger())).post([]byte(`{}`))
	want := `"level"=0 "msg"="refused a request" "status"=400 "stage"="request" "error"="not an AdmissionReview: kind is \"\", want AdmissionReview"`
	if diff := cmp.Diff([]string{want}, log.lines); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// TestFewLinesAreLoggedOfStrangers is at the level of a server.
func TestFewLinesAreLoggedOfStrangers(t *testing.T) {
	t.Parallel()
	lose := withNamespaces(func(context.Context, string) (map[string]string, bool) { panic("lost the cache") })
	for _, body := range [][]byte{[]byte(`{}`), edited(t, `"spec":{`, `"spec":7,"x":{`), capturedReview(t)} {
		var log logLines
		s := newServer(t, policyNodeLocal, lose, withLog(log.withVerbosity(0)))
		for range 1000 {
			s.post(body)
		}
		if n := len(log.lines); n == 0 || n > 100 {
			t.Errorf("%d lines of 1000 requests", n)
		}
	}
}

// TestTheDebugLevelHasEveryReview has no limit there.
func TestTheDebugLevelHasEveryReview(t *testing.T) {
	t.Parallel()
	lose := withNamespaces(func(context.Context, string) (map[string]string, bool) { panic("lost the cache") })
	for name, test := range map[string]struct {
		body    []byte
		options []func(*admission.Options)
	}{
		"reviews":  {capturedReview(t), nil},
		"refusals": {[]byte(`{}`), nil},
		"panics":   {capturedReview(t), []func(*admission.Options){lose}},
	} {
		var log logLines
		s := newServer(t, policyNodeLocal, append(test.options, withLog(log.withVerbosity(1)))...)
		for range 200 {
			s.post(test.body)
		}
		if n := len(log.lines); n != 200 {
			t.Errorf("%d lines of 200 %s", n, name)
		}
	}
}

// TestLinesOfADryRunAreShort has the longest names that a stranger can send.
func TestLinesOfADryRunAreShort(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"n", `\u001b`, `\"`, `\\`, "\u00e9"} {
		var log logLines
		newServer(t, policyDryRun, withLog(log.logger())).post(edited(t, `"metadata":{`, `"metadata":{"name":"`+strings.Repeat(name, 1000)+`",`,
			capturedUID, strings.Repeat(name, 40), `"namespace":"default","operation"`, `"namespace":"`+strings.Repeat("n", 63)+`","operation"`))
		const before = 80 // the time and the logger's name
		if len(log.lines) != 1 || len(log.lines[0]) > 600-before {
			t.Errorf("logged %q", log.lines)
		}
	}
}

// TestLogOfPanic has the stack, without which nobody can report the bug.
func TestLogOfPanic(t *testing.T) {
	t.Parallel()
	var log logLines
	s := newServer(t, policyNodeLocal, withLog(log.logger()),
		withNamespaces(func(context.Context, string) (map[string]string, bool) { panic("lost the cache") }))
	s.post(capturedReview(t))
	s.post(capturedReview(t))
	if len(log.lines) != 2 || strings.Contains(log.lines[1], "TestLogOfPanic.func") {
		t.Fatalf("logged %q, want one line for each, and the stack in the first", log.lines)
	}
	for _, part := range []string{`"msg"="bug in Shorthop; please report it"`, `"error"="panic: lost the cache"`, capturedUID, "TestLogOfPanic.func"} {
		if !strings.Contains(log.lines[0], part) {
			t.Errorf("%s is not in %s", part, log.lines[0])
		}
	}
}

// TestLogOfLostAnswer says who did not wait.
func TestLogOfLostAnswer(t *testing.T) {
	t.Parallel()
	var log logLines
	s := newServer(t, policyOff, withLog(log.logger()))
	s.ServeHTTP(lost{httptest.NewRecorder()}, newRequest(capturedReview(t)))
	want := `"level"=1 "msg"="client left before the answer" "uid"="` + capturedUID + `" "error"="broken pipe"`
	if len(log.lines) != 2 || log.lines[1] != want {
		t.Errorf("logged %q, want %q at the end", log.lines, want)
	}
}

// lost is a ResponseWriter whose client is gone.
type lost struct{ http.ResponseWriter }

func (lost) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// TestNothingOfThePodIsLogged hides a secret wherever a pod can have one, and
// breaks the review in every way: neither the log, at any level, nor a refusal
// shows it.
func TestNothingOfThePodIsLogged(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	with := func(oldNew ...string) []byte {
		return edited(t, append([]string{
			`"value":"b"`, `"value":"` + secret + `"`,
			`"value":"db.prod.svc"`, `"value":"` + secret + `"`,
			`"prometheus.io/port":"8080"`, `"prometheus.io/port":"` + secret + `"`,
			`"echo"`, `"` + secret + `"`,
		}, oldNew...)...)
	}
	bodies := [][]byte{with()}
	for _, wrong := range []string{`"s3cr3t"`, `{"value":"s3cr3t"}`, `["s3cr3t"]`, `s3cr3t`, `"s3cr3t\x"`, `"s3cr3t` + "\n" + `"`, `7`, `true`} {
		for _, field := range []string{
			`"name":"A"`, `"env":[{"name":"A"`, `"dnsPolicy":"ClusterFirst"`, `"restartPolicy":"Always"`,
			`"schedulerName":"default-scheduler"`, `"app":"web"`, `"dryRun":false`, `"name":"web","image"`,
		} {
			name, _, _ := strings.Cut(field, ":")
			bodies = append(bodies, with(field, name+":"+wrong+`,"was":{`+field+`}`))
		}
		for _, field := range []string{"hostNetwork", "dnsConfig", "tolerations", "nodeSelector", "os", "initContainers", "ephemeralContainers"} {
			bodies = append(bodies, with(`"restartPolicy"`, `"`+field+`":`+wrong+`,"restartPolicy"`))
		}
		bodies = append(bodies, with(`"value":"`+secret+`"`, `"value":`+wrong), with(`"metadata":{`, `"metadata":{"ownerReferences":[{"controller":`+wrong+`}],`))
	}
	whole := with()
	for n := 0; n < len(whole); n += 7 {
		bodies = append(bodies, whole[:n])
	}
	var log logLines
	panics := withNamespaces(func(context.Context, string) (map[string]string, bool) { panic("lost the cache") })
	servers := []*server{
		newServer(t, policyNodeLocal, withLog(log.logger())),
		newServer(t, policyDeny, withLog(log.logger())),
		newServer(t, policyNodeLocal, withLog(log.logger()), panics),
		newServer(t, policyNodeLocal, withLog(log.logger()), withNamespaces(unknown)),
		newServer(t, "", withLog(log.logger())),
	}
	answered := 0
	for _, body := range bodies {
		for _, s := range servers {
			recorder := s.post(body)
			answered++
			if bytes.Contains(recorder.Body.Bytes(), []byte(secret)) {
				t.Errorf("answered %s", recorder.Body)
			}
		}
	}
	broken := newRequest(nil)
	broken.Body = io.NopCloser(io.MultiReader(bytes.NewReader(whole), iotest.ErrReader(errors.New("connection reset"))))
	servers[0].serve(broken)
	answered++
	if len(log.lines) != answered {
		t.Errorf("%d lines for %d requests", len(log.lines), answered)
	}
	for _, line := range log.lines {
		if strings.Contains(line, secret) {
			t.Errorf("logged %s", line)
		}
	}
}
