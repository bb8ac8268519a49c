package s3

import (
	"fmt"

	"github.com/minio/minio-go/v7"
)

// Options are what a location does not say. The zero value is what most need.
type Options struct {
	// Region of the bucket. Otherwise AWS_REGION, AWS_DEFAULT_REGION, what the profile says, what the
	// host's name says, and us-east-1 for hosts that are not Amazon's.
	Region string

	// Lookup says where requests have the bucket: in the host's name ("dns"), in the path ("path"), or
	// ("auto", "") in the host's name for Amazon and those known to want it.
	Lookup string

	// Profile is a section of the shared credentials file; otherwise AWS_PROFILE, then "default". With a
	// Profile the keys in the environment do not count.
	Profile string

	// Anonymous sends requests without a signature.
	Anonymous bool

	StorageClass string // of all objects; empty: the bucket's default
	DataClass    string // of data packs; empty: StorageClass

	CACert      string // file of further certificate authorities, PEM; otherwise AWS_CA_BUNDLE
	ClientCert  string // file of the certificate with which TLS identifies the client, PEM
	ClientKey   string // file of its key; empty: it is in ClientCert
	InsecureTLS bool   // the server's certificate is not verified

	// Connections is how many requests run at once; 0: 8.
	Connections int

	// NoCreateOnly leaves out the header that makes Put create-only, for servers that refuse it. The
	// caller MUST then see to it that there is a single writer.
	NoCreateOnly bool

	// LockDays is for how many days each object is locked after it was put; 0: it is not.
	LockDays int

	// LockMode is "governance" (also ""), under which credentials with
	// s3:BypassGovernanceRetention can still delete, or "compliance", under which nobody can before the
	// time is over.
	LockMode string
}

// defaultConnections is how many requests run at once.
const defaultConnections = 8

func (o Options) connections() int {
	if o.Connections > 0 {
		return o.Connections
	}
	return defaultConnections
}

func (o Options) lookup() (minio.BucketLookupType, error) {
	switch o.Lookup {
	case "", "auto":
		return minio.BucketLookupAuto, nil
	case "dns":
		return minio.BucketLookupDNS, nil
	case "path":
		return minio.BucketLookupPath, nil
	}
	return 0, fmt.Errorf("%w: bucket lookup %q is none of auto, dns, path", ErrOptions, o.Lookup)
}

func (o Options) lockMode() (minio.RetentionMode, error) {
	switch o.LockMode {
	case "", "governance":
		return minio.Governance, nil
	case "compliance":
		return minio.Compliance, nil
	}
	return "", fmt.Errorf("%w: lock mode %q is none of governance, compliance", ErrOptions, o.LockMode)
}

func (o Options) check() error {
	if o.Connections < 0 || o.LockDays < 0 {
		return fmt.Errorf("%w: a number is negative", ErrOptions)
	}
	if o.ClientKey != "" && o.ClientCert == "" {
		return fmt.Errorf("%w: a client key without a certificate", ErrOptions)
	}
	return nil
}
