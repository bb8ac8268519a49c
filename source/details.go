package source

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// MaxDetails is how many bytes of details a source may make. Those of a snapshot may have more.
const MaxDetails = 64 << 10

// MarshalDetails returns the JSON object of what was given to Describe.
func MarshalDetails(details any) ([]byte, error) {
	out, err := json.Marshal(details)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDetails, err)
	}
	if len(out) > MaxDetails || !bytes.HasPrefix(out, []byte("{")) {
		return nil, ErrDetails
	}
	return out, nil
}

// ReadDetails decodes what the details of a snapshot say below the key of a source, which ok reports to be there. That is an object with a
// number of its format; one above what is known here is an ErrNewer.
func ReadDetails(text []byte, key string, known int, into any) (ok bool, err error) {
	var all map[string]json.RawMessage
	if json.Unmarshal(text, &all) != nil || all[key] == nil {
		return false, nil
	}
	var its struct {
		Format int `json:"format"`
	}
	if json.Unmarshal(all[key], &its) != nil || its.Format < 1 {
		return false, nil
	}
	if its.Format > known {
		return false, fmt.Errorf("%w: what it says of %s is of format %d, and this one knows %d", ErrNewer, key, its.Format, known)
	}
	return json.Unmarshal(all[key], into) == nil, nil
}
