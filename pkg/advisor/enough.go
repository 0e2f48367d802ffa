package advisor

// How much has to be observed before advice names a value. The test on a real node
// compiles the advisor with less in the place of this file, and with nothing else
// changed.
const (
	// enoughMinutes must be covered in all, and on so many days.
	enoughMinutes = 24 * 60
	enoughDays    = 7
	// startTail is for how long in seconds behind a start the log must go on: by then,
	// what is looked up once has been.
	startTail = int64(10 * 60)
)
