package restore

// What is in flight together: ranges of packs, and plaintext of segments that were compressed. Plaintext that was not
// lies in the range that it came in. Deltas and what they are made of have a budget of their own, of which at most half is
// for what is being decoded at a time; the rest keeps bases for later.
const (
	fetchedBudget = 24 << 20
	decodedBudget = 24 << 20
	linkedBudget  = 48 << 20
)
