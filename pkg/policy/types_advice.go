package policy

// AdviceMode says whether pods get what advice says.
type AdviceMode string

const (
	// AdviceIgnore leaves advice aside.
	AdviceIgnore AdviceMode = "Ignore"
	// AdviceApply gives it to pods.
	AdviceApply AdviceMode = "Apply"
)

// AdviceMatch says for which pods of a workload the ndots of its advice holds.
type AdviceMatch string

const (
	// AdviceMatchReference is for pods all of whose images, tags and digests
	// included, and commands were seen.
	AdviceMatchReference AdviceMatch = "Reference"
	// AdviceMatchRepository is for pods whose images are of repositories that were
	// seen, with commands that were: a new build may look up what no other did.
	AdviceMatchRepository AdviceMatch = "Repository"
)

// AdviceSettings say how advice is used wherever it is.
type AdviceSettings struct {
	// Match defaults to Reference. Repository suits clusters that deploy daily, and
	// would hardly ever have advice otherwise. It takes a risk: a build that looks up
	// a name that needs more does not find it, until evidence has shown it.
	Match AdviceMatch `json:"match,omitzero"`
	// Floor, 1 to 5, is the lowest ndots that advice gives. Defaults to 2.
	Floor *int32 `json:"floor,omitzero"`
}

// Confidence is how far what was seen can be trusted.
type Confidence string

const (
	// ConfidenceMedium is for a value that some of what was seen leaves a doubt of.
	ConfidenceMedium Confidence = "medium"
	// ConfidenceHigh is for one of which there is none.
	ConfidenceHigh Confidence = "high"
)
