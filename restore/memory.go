package restore

// What is in flight together: ranges of packs, and plaintext of segments that were compressed. Plaintext that was not
// lies in the range that it came in.
const (
	fetchedBudget = 24 << 20
	decodedBudget = 24 << 20
)
