package advisorrun

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/advicefile"
	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
)

const (
	// NAME-report has the last report under reportKey, and under runKey how the run ended
	// that made it.
	reportKey = "report.json.gz"
	runKey    = "run.json"
	// maxReport is the most that a report may have, gzipped.
	maxReport = 700 << 10
	// maxMessage is the longest message of an Event that the API server takes.
	maxMessage = 1024
)

// The reasons of Events. They are API.
const (
	// EventRaised tells of names that need more than was known.
	EventRaised = "AdviceRaised"
	// EventFailed tells of a run that could not do what it had to.
	EventFailed = "AdvisorFailed"
)

// GetReport reads NAME-report. It is no error that there is none: then nothing is left
// there.
func (m *Maps) GetReport(ctx context.Context) error {
	found, err := m.maps.Get(ctx, m.Name+"-report", metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the ConfigMap: %w", err)
	}
	m.report = found
	if text := found.Data[runKey]; text != "" {
		if run, err := advicefile.ParseRun([]byte(text)); err == nil { // else it is written anew
			m.run = *run
		}
	}
	return nil
}

// LastRun is how the run before ended, as far as that is known.
func (m *Maps) LastRun() advicefile.Run { return m.run }

// Outcome is what a run came to.
type Outcome struct {
	// Err is why it could not do what it had to. The rest is then left out, or what it
	// came to until then.
	Err error
	// Changes are what it changed in the document.
	Changes []policy.AdviceChange
	// Report is what it found out, and Document the same as it is printed.
	Report   *advisor.Report
	Logs, Of int
	// Workloads is how many there are, and Next is what Choose said.
	Workloads int
	Next      string
}

// Leave writes how a run ended into NAME-report, with its report, and an Event where
// somebody has to know.
func (m *Maps) Leave(ctx context.Context, o *Outcome, now time.Time) error {
	var errs []error
	raised := 0
	var first *policy.AdviceChange
	for i := range o.Changes {
		if c := &o.Changes[i]; c.Raised {
			if raised++; first == nil {
				first = c
			}
		}
	}
	if first != nil {
		message := fmt.Sprintf("%s of %s/%s: %s", first.Kind, first.Namespace, first.Name, first.Change)
		if first.Why != "" {
			message += " (" + first.Why + ")"
		}
		if raised > 1 {
			message += fmt.Sprintf("; and %d more", raised-1)
		}
		errs = append(errs, m.event(ctx, EventRaised, message, now))
	}
	if o.Err != nil {
		errs = append(errs, m.event(ctx, EventFailed, o.Err.Error(), now))
	}
	if m.report != nil {
		errs = append(errs, m.writeReport(ctx, o, raised > 0, now))
	}
	return errors.Join(errs...)
}

func (m *Maps) writeReport(ctx context.Context, o *Outcome, raised bool, now time.Time) error {
	run := m.run
	now = now.UTC().Truncate(time.Second)
	run.Ended, run.Error = now, ""
	if run.Complete.IsZero() {
		run.Complete = now
	}
	if raised {
		run.Raised = now
	}
	if o.Err != nil {
		run.Error = printable.Line(printable.Cut(o.Err.Error(), maxMessage))
	} else {
		run.Succeeded = now
	}
	if o.Report != nil {
		run.Next, run.Logs, run.Of, run.Workloads, run.Observed = o.Next, o.Logs, o.Of, o.Workloads, 0
		for i := range o.Report.Workloads {
			if o.Report.Workloads[i].Observation != nil {
				run.Observed++
			}
		}
		run.Incomplete = nil
		for i := range o.Report.Source.Gaps {
			if g := &o.Report.Source.Gaps[i]; g.Confidence != advisor.ConfidenceHigh { // the others cost nothing
				run.Incomplete = append(run.Incomplete, printable.Line(printable.Cut(g.Text, maxMessage)))
			}
		}
		if len(run.Incomplete) == 0 {
			run.Complete = now
		}
		report, err := fitting(o.Report)
		if err != nil {
			return err
		}
		m.report.BinaryData = map[string][]byte{reportKey: report}
	}
	text, err := run.Encode()
	if err != nil {
		return err
	}
	m.report.Data = map[string]string{runKey: string(text)}
	if _, err := m.maps.Update(ctx, m.report, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
		return fmt.Errorf("cannot write the ConfigMap %s: %w", m.report.Name, err)
	}
	return nil
}

// fitting is a report that is small enough: without the names of workloads if it must
// be, and then without the workloads that save least.
func fitting(r *advisor.Report) ([]byte, error) {
	for keep, names := len(r.Workloads), true; ; {
		some := *r
		some.Workloads = append([]advisor.Workload{}, r.Workloads[:keep]...)
		if !names {
			for i := range some.Workloads {
				some.Workloads[i].Names = nil
			}
		}
		text, err := json.Marshal(&some)
		if err != nil {
			return nil, err
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, text, "", "  "); err != nil {
			return nil, err
		}
		data, err := zipped(indented.Bytes())
		if err != nil || len(data) <= maxReport || keep == 0 {
			return data, err
		}
		if names {
			names = false
		} else {
			keep /= 2
		}
	}
}

// event tells of the document's first ConfigMap.
func (m *Maps) event(ctx context.Context, reason, message string, now time.Time) error {
	at := metav1.NewTime(now)
	_, err := m.client.CoreV1().Events(m.Namespace).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: m.Name + "-", Namespace: m.Namespace},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: m.Namespace, Name: m.Name},
		Reason:         reason,
		Message:        printable.Cut(printable.Line(message), maxMessage),
		Type:           corev1.EventTypeWarning,
		Source:         corev1.EventSource{Component: fieldManager},
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}, metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil {
		return fmt.Errorf("cannot write the Event %s: %w", reason, err)
	}
	return nil
}
