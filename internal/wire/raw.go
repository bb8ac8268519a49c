package wire

import "github.com/fxamacker/cbor/v2"

// Raw is one encoded value that is decoded later, or was encoded before.
type Raw = cbor.RawMessage
