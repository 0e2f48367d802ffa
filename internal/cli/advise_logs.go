package cli

import (
	"io"

	"github.com/shorthop/shorthop/internal/unpack"
	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/printable"
)

// readLogs hands on one log after the other.
func (s *Streams) readLogs(files []string, each func(string, io.Reader) error) error {
	for _, file := range files {
		if err := s.readLog(file, each); err != nil {
			return failure("cannot read %s: %v", displayName(file), withoutPath(err))
		}
	}
	return nil
}

func (s *Streams) readLog(file string, each func(string, io.Reader) error) error {
	in := s.In
	if file != stdinName {
		opened, err := s.Open(file)
		if err != nil {
			return err
		}
		defer opened.Close()
		in = opened
	}
	plain, err := unpack.Reader(in)
	if err != nil {
		return err
	}
	return each(displayName(file), plain)
}

// nothingRead says what the logs have in place of queries. Of several, each has a remark.
func (s *Streams) nothingRead(r *advisor.Report) string {
	if len(r.Source.Files) == 1 {
		return noQueries(&r.Source.Files[0])
	}
	s.remarkLogs(r)
	return "none of the logs has one"
}

// noQueries says what a log has in place of queries, and what to do about it.
func noQueries(l *advisor.LogSource) string {
	switch {
	case l.Saw != "":
		return l.Saw
	case l.Skipped.Requests > 0:
		return "there are only questions, and no answers, of which a recommendation is made"
	case l.Lines > 0: // of which not one was short enough to be looked at
		return "its lines are too long to be records: is it a log, with one in each line?"
	}
	return "it is empty"
}

// remarkLogs tells of each log what of it could not be read.
func (s *Streams) remarkLogs(r *advisor.Report) {
	for i := range r.Source.Files {
		l := &r.Source.Files[i]
		name := printable.Name(l.Name)
		switch {
		case l.Missing:
			s.remark("%s: could not be read: %s", name, printable.Line(l.BreaksOff))
		case l.Unread():
			s.remark("%s: no query in %s: %s", name, count(int(l.Lines), "line"), noQueries(l))
		case l.Skipped.Malformed > 0:
			what := ""
			if l.Saw != "" {
				what = ": mostly " + l.Saw
			}
			s.remark("%s: skipped %s that cannot be read as a query%s", name, count(int(l.Skipped.Malformed), "line"), what)
		}
		if l.BreaksOff != "" && !l.Missing {
			s.remark("%s: breaks off: %s", name, printable.Line(l.BreaksOff))
		}
	}
}
