package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// parseSize understands a number of bytes, with b, k, m, g or t behind it for bytes, KiB, MiB, GiB and TiB.
func parseSize(flag, s string) (int64, error) {
	digits, shift := s, 0
	if i := len(s) - 1; i > 0 {
		if unit := strings.IndexByte("bkmgt", s[i]|0x20); unit >= 0 {
			digits, shift = s[:i], 10*unit
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, usage(fmt.Sprintf("%s: %q is not a size", flag, s), "a size is a number of bytes, or one with k, m, g or t behind it, such as 500m")
	}
	return int64(n) << shift, nil
}
