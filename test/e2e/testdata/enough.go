package advisor

// This takes the place of pkg/advisor/enough.go in the image that TestAdviceInForce installs: what takes a week takes a
// minute. Nothing else of the advisor is changed.
const (
	enoughMinutes = 1
	enoughDays    = 1
	startTail     = int64(5)
)
