package check

import (
	"context"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/repo/records"
)

func now() int64 { return clock.Now().Unix() }

// record notes in the repository which packs were read and found whole. A repository that can only be read,
// or a key whose word does not count, is no reason for a check to fail; the report has the error.
func (c *checker) record(ctx context.Context) {
	if c.rep.PacksRead == 0 {
		return
	}
	c.rep.RecordErr = records.Add(ctx, c.r, c.verified, clock.Now())
}
