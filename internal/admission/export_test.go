package admission

// KeptAfter is how large the buffers are that are kept for other reviews after
// bodies of these sizes were read side by side, and what the next bodies begin with
// at most.
func KeptAfter(sizes ...int) (capacities []int, first int) {
	kept := newBodies(newBudget())
	var held []*body
	for _, size := range sizes {
		b := kept.get()
		b.grow(size)
		held = append(held, b)
	}
	for _, b := range held {
		kept.put(b)
	}
	for range held {
		first = max(first, cap(kept.get().data))
	}
	for len(kept.large) > 0 {
		capacities = append(capacities, cap(<-kept.large))
	}
	return capacities, first
}

// FreeBody is what a body takes without the budget.
const FreeBody = freeBody

// KeptForPatches is the room for a patch that the next review finds.
func KeptForPatches(h *Handler) int { return cap(h.bodies.get().patch) }

// Decoding has an entry for all but simple bodies that are being decoded.
func Decoding(h *Handler) chan struct{} { return h.decoding }

// UnderWay is how many reviews are.
func UnderWay(h *Handler) int64 { return h.underWay.Load() }

// MemoryLeft is what is left of a Handler's budget.
func MemoryLeft(h *Handler) int64 { return h.bodies.get().grant.from.left }

// TakeAllMemory leaves nothing of a Handler's budget.
func TakeAllMemory(h *Handler) {
	b := h.bodies.get()
	b.grant.from.left, b.grant.from.lane = 0, &b.grant
}

// LeaveMemoryForSmallBodies leaves nothing of a Handler's budget but what is for small bodies.
func LeaveMemoryForSmallBodies(h *Handler) {
	TakeAllMemory(h)
	h.bodies.get().grant.from.left = smallBudget
}
