package advisor

import (
	"fmt"
	"math"
	"time"
)

// Somebody who keeps a part of each minute, or of each hour, leaves a log that begins
// where it should and has no long hole. What tells it are the seconds of the minute,
// and the minutes of the hour, in which there never is a line:
//
//	seen in the sixty parts                           taken for
//	one run of five empty parts or more, others at    a part that was left out
//	most a quarter of it, and chance would not do so
//	several runs, equally long                        a timer: something asks every 10, 20, 30 seconds
//	lines in fewer than ten parts, of one workload,   a timer: something asks for a while, once a minute
//	or in fewer than five
const (
	// parts are the seconds of a minute and the minutes of an hour.
	parts = 60
	// fewestEmpty parts in a row may have been left out.
	fewestEmpty = 5
	// byOne is in how many parts the lines of one workload must be, and byMany those of
	// several.
	byOne, byMany = 10, 5
	// noChance is how likely a run may be by chance.
	noChance = 1e-6
)

// leftOut finds the parts that are always empty though lines are dense around them.
// counts says in which of the parts something was seen, and how often.
func leftOut(counts *[parts]uint32, several bool) (from, length int, found bool) {
	var all float64
	there := 0
	for _, n := range counts {
		all += float64(n)
		if n > 0 {
			there++
		}
	}
	if there < byMany || !several && there < byOne {
		return 0, 0, false
	}
	second, run := 0, 0
	for i := range 2 * parts { // twice, for the run that goes over the end
		if counts[i%parts] == 0 {
			run++
			continue
		}
		switch at := i - run; {
		case run > length:
			second, from, length = length, at%parts, run
		case at%parts != from:
			second = max(second, run)
		}
		run = 0
	}
	chance := parts * math.Pow(1-float64(length)/parts, all)
	return from, length, length >= fewestEmpty && 4*second <= length && chance < noChance
}

// Times that a log must have for its minutes and hours to say anything.
const (
	severalMinutes = uint32(shortWindow / time.Second)
	severalHours   = uint32(3 * time.Hour / time.Second)
)

// everyMinute finds the seconds of each minute that a segment lacks.
func (s *segment) everyMinute() (from, length int, found bool) {
	if s.last-s.first < severalMinutes || s.untimed > s.timed {
		return 0, 0, false
	}
	return leftOut(&s.seconds, s.several)
}

// everyHour finds the minutes of each hour that a segment lacks.
func (s *segment) everyHour() (from, length int, found bool) {
	if s.last-s.first < severalHours || s.untimed > s.timed || s.dense {
		return 0, 0, false
	}
	var counts [parts]uint32
	for minute := range s.minutes {
		counts[minute%parts]++
	}
	return leftOut(&counts, s.several)
}

// periodicGaps tells which logs have no line in some part of each minute or hour. Of a
// log that was thinned out so, a start that it covers may be in what was left out. A part
// of each hour is long enough for that: the rest shows as holes.
func (c *Collector) periodicGaps(part func(n int) Confidence) (gaps []Gap) {
	counted := &c.shards[0].segments
	counted.flush()
	var minute, hour struct {
		logs []string
		what string
	}
	for i := range counted.list {
		s := &counted.list[i]
		name := c.logs[s.log].Name
		if from, length, found := s.everyMinute(); found && (len(minute.logs) == 0 || minute.logs[len(minute.logs)-1] != name) {
			minute.logs = append(minute.logs, name)
			minute.what = fmt.Sprintf("no line in %d seconds of any minute, from :%02d on", length, from)
		} else if from, length, found := s.everyHour(); found && (len(hour.logs) == 0 || hour.logs[len(hour.logs)-1] != name) {
			hour.logs = append(hour.logs, name)
			hour.what = fmt.Sprintf("no line in %d minutes of any hour, from :%02d on", length, from)
		}
	}
	if n := len(minute.logs); n > 0 {
		gaps = append(gaps, Gap{
			Code: GapPeriodic, Confidence: part(n), Logs: minute.logs,
			Text: fmt.Sprintf("%d of %s: %s, though lines are dense around: only a part was kept", n, amount(len(c.logs), "log"), minute.what),
		})
	}
	if n := len(hour.logs); n > 0 {
		gaps = append(gaps, Gap{
			Code: GapPeriodic, Confidence: ConfidenceMedium, Logs: hour.logs,
			Text: fmt.Sprintf("%d of %s: %s, though lines are dense around: what is looked up then is not there", n, amount(len(c.logs), "log"), hour.what),
		})
	}
	return gaps
}
