package redis

import (
	"testing"

	"github.com/kura-backup/kura/internal/testsys"
)

func TestMain(m *testing.M) { testsys.VerifyMain(m) }
