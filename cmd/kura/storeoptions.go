package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/location"
)

// storeFlags are the settings of the kinds of stores that are not part of a location.
type storeFlags struct {
	options     []string // name=value
	s3DataClass string
	lockDays    string
	caCert      string
	clientCert  string
	insecureTLS bool
}

const (
	envS3DataClass = "KURA_S3_DATA_CLASS"
	envLockDays    = "KURA_OBJECT_LOCK_DAYS"
	envCACert      = "KURA_CACERT"
	envClientCert  = "KURA_TLS_CLIENT_CERT"
)

func (o *storeFlags) addFlags(f *pflag.FlagSet) {
	f.StringArrayVarP(&o.options, "option", "o", nil, "set an option of the store, as `name=value`: "+strings.Join(optionNames(), ", "))
	f.StringVar(&o.s3DataClass, "s3-data-class", "", "storage `class` of packs with contents of files in S3 (default: $"+envS3DataClass+", or that of s3.storage-class)")
	f.StringVar(&o.lockDays, "object-lock-days", "", "lock what is written to S3 against deletion for so many `days` (default: $"+envLockDays+", or not at all)")
	f.StringVar(&o.caCert, "cacert", "", "`file` of certificates that a server's is verified with, beside those of the system (default: $"+envCACert+")")
	f.StringVar(&o.clientCert, "tls-client-cert", "", "`file` of the certificate and key to show to a server (default: $"+envClientCert+")")
	f.BoolVar(&o.insecureTLS, "insecure-tls", false, "do not verify the server's certificate: anybody between here and there can read and change what is sent")
}

// storeOption is one that -o sets.
type storeOption struct {
	name string
	set  func(o *location.Options, value string) error
}

// storeOptions have restic's names where it has them.
var storeOptions = []storeOption{
	{"s3.region", text(func(o *location.Options) *string { return &o.S3.Region })},
	{"s3.bucket-lookup", oneOf(func(o *location.Options) *string { return &o.S3.Lookup }, "auto", "dns", "path")},
	{"s3.storage-class", text(func(o *location.Options) *string { return &o.S3.StorageClass })},
	{"s3.profile", text(func(o *location.Options) *string { return &o.S3.Profile })},
	{"s3.connections", count(func(o *location.Options) *int { return &o.S3.Connections })},
	{"s3.lock-mode", oneOf(func(o *location.Options) *string { return &o.S3.LockMode }, "governance", "compliance")},
	{"s3.unsafe-anonymous-auth", truth(func(o *location.Options) *bool { return &o.S3.Anonymous })},
	{"sftp.command", text(func(o *location.Options) *string { return &o.SFTP.Command })},
	{"sftp.args", text(func(o *location.Options) *string { return &o.SFTP.Args })},
	{"sftp.connections", count(func(o *location.Options) *int { return &o.SFTP.Connections })},
}

func optionNames() (names []string) {
	for _, o := range storeOptions {
		names = append(names, o.name)
	}
	return names
}

func text(at func(*location.Options) *string) func(*location.Options, string) error {
	return func(o *location.Options, value string) error {
		*at(o) = value
		return nil
	}
}

func oneOf(at func(*location.Options) *string, values ...string) func(*location.Options, string) error {
	return func(o *location.Options, value string) error {
		if !slices.Contains(values, value) {
			return fmt.Errorf("is not one of %s", strings.Join(values, ", "))
		}
		*at(o) = value
		return nil
	}
}

// maxConnections is far above what helps, and below what a server takes for an attack.
const maxConnections = 256

func count(at func(*location.Options) *int) func(*location.Options, string) error {
	return func(o *location.Options, value string) error {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxConnections {
			return fmt.Errorf("is not a number from 1 to %d", maxConnections)
		}
		*at(o) = n
		return nil
	}
}

func truth(at func(*location.Options) *bool) func(*location.Options, string) error {
	return func(o *location.Options, value string) (err error) {
		if *at(o), err = strconv.ParseBool(value); err != nil {
			return fmt.Errorf("is neither true nor false")
		}
		return nil
	}
}

// maxLockDays is a hundred years: more is a slip that nobody could take back.
const maxLockDays = 36500

// parse returns the options that flags and environment make.
func (o *storeFlags) parse() (l location.Options, err error) {
	for _, text := range o.options {
		name, value, ok := strings.Cut(text, "=")
		i := slices.IndexFunc(storeOptions, func(s storeOption) bool { return s.name == name })
		switch {
		case !ok:
			return l, usage(fmt.Sprintf("-o %s has no value", text), "write -o name=value")
		case i < 0:
			return l, usage(fmt.Sprintf("-o %s: there is no such option", name), "the options are "+strings.Join(optionNames(), ", "))
		}
		if err := storeOptions[i].set(&l, value); err != nil {
			return l, usage(fmt.Sprintf("-o %s: %q %v", name, value, err))
		}
	}
	l.S3.DataClass = given(o.s3DataClass, envS3DataClass)
	l.S3.CACert = given(o.caCert, envCACert)
	l.S3.ClientCert = given(o.clientCert, envClientCert)
	l.S3.InsecureTLS = o.insecureTLS
	if text, name := givenBy("--object-lock-days", o.lockDays, envLockDays); text != "" {
		if l.S3.LockDays, err = strconv.Atoi(text); err != nil || l.S3.LockDays < 0 || l.S3.LockDays > maxLockDays {
			return l, usage(fmt.Sprintf("%s %q is not a number of days from 0 to %d", name, text, maxLockDays))
		}
	}
	return l, nil
}

// checkLocks refuses a store that can not lock objects, as was asked for: who believes that backups
// are locked must not find out when they are gone.
func checkLocks(store backends.Store, o location.Options) error {
	if o.S3.LockDays == 0 {
		return nil
	}
	if l, ok := backends.As[backends.Locker](store); ok && l.LockDays() > 0 {
		return nil
	}
	return usage("this store can not lock objects", "leave out --object-lock-days, and unset $"+envLockDays)
}
