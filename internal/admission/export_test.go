package admission

// KeptAfter is how large the buffers are that are kept for other reviews after
// bodies of these sizes were read side by side.
func KeptAfter(sizes ...int) []int {
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
	var capacities []int
	for len(kept.large) > 0 {
		capacities = append(capacities, cap(<-kept.large))
	}
	return capacities
}
