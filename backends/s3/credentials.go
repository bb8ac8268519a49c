package s3

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"gopkg.in/ini.v1"
)

const (
	metadataDial = time.Second // a machine of no cloud has nobody at that address
	metadataWait = 5 * time.Second
)

// giverWait is how long who gives credentials may take to answer.
var giverWait = 30 * time.Second

// chain finds credentials, the first of
//
//   - the keys in the environment, unless a profile is asked for,
//   - the profile in the shared files, with its process or its single sign-on,
//   - what the environment of a container, an identity token, or the machine gives.
//
// Where there are none it says so: requests without a signature are only sent when they are asked for.
type chain struct {
	profile string
	found   credentials.Provider
	lasting bool // what was found never ends
	had     bool // found before
}

func newCredentials(o Options) *credentials.Credentials {
	if o.Anonymous {
		return credentials.NewStatic("", "", "", credentials.SignatureAnonymous)
	}
	return credentials.New(&chain{profile: o.Profile})
}

// RetrieveWithCredContext implements [credentials.Provider].
func (c *chain) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	c.found = nil
	if cc.Client != nil {
		// While one request waits for them all others do, whatever their contexts say.
		client, bounded := *cc.Client, *cc
		client.Timeout = giverWait
		bounded.Client = &client
		cc = &bounded
	}
	var why []error
	for _, p := range c.providers() {
		v, err := p.provider.RetrieveWithCredContext(cc)
		if err == nil && v.AccessKeyID != "" && v.SecretAccessKey != "" {
			c.found, c.had = p.provider, true
			c.lasting = p.process && v.Expiration.IsZero()
			return v, nil
		}
		if err == nil {
			err = errors.New("the access key or its secret is missing")
		}
		why = append(why, fmt.Errorf("%s: %w", p.name, err))
		if p.required {
			break
		}
	}
	if c.had {
		// Who gives them may be away for a moment: no reason to give up what is under way.
		return credentials.Value{}, fmt.Errorf("s3: the credentials could not be renewed: %w", errors.Join(why...))
	}
	return credentials.Value{}, fmt.Errorf("%w: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or choose a profile: %w", ErrNoCredentials, errors.Join(why...))
}

// Retrieve implements [credentials.Provider].
func (c *chain) Retrieve() (credentials.Value, error) {
	return c.RetrieveWithCredContext(&credentials.CredContext{Client: http.DefaultClient})
}

// IsExpired implements [credentials.Provider].
func (c *chain) IsExpired() bool { return c.found == nil || !c.lasting && c.found.IsExpired() }

// place is where credentials may be. If it is required there is no other.
type place struct {
	name     string
	provider credentials.Provider
	required bool
	process  bool // it runs one
}

func (c *chain) providers() []place {
	if c.profile == "" && inEnvironment() {
		return []place{{name: "the environment", provider: &credentials.EnvAWS{}, required: true}}
	}
	named := profileName(c.profile)
	places := []place{{
		name: "profile " + named, provider: &credentials.FileAWSCredentials{Profile: named},
		required: c.profile != "" || os.Getenv("AWS_PROFILE") != "",
		process:  profileKey(named, "credential_process") != "",
	}}
	identity := false
	for _, name := range []string{"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		identity = identity || os.Getenv(name) != ""
	}
	switch {
	case identity:
		places = append(places, place{name: "the identity of the container", provider: &credentials.IAM{}, required: true})
	case os.Getenv("AWS_EC2_METADATA_DISABLED") != "true":
		dialer := &net.Dialer{Timeout: metadataDial}
		client := &http.Client{Timeout: metadataWait, Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
		places = append(places, place{name: "the machine", provider: &credentials.IAM{Client: client}, required: true})
	}
	return places
}

func inEnvironment() bool {
	return os.Getenv("AWS_ACCESS_KEY_ID") != "" || os.Getenv("AWS_ACCESS_KEY") != ""
}

func profileName(option string) string {
	for _, name := range []string{option, os.Getenv("AWS_PROFILE")} {
		if name != "" {
			return name
		}
	}
	return "default"
}

// profileRegion is the region that the shared configuration has for a profile, if any.
func profileRegion(option string) string {
	return sectionKey(sharedFile("AWS_CONFIG_FILE", "config"), profileName(option), "region")
}

// profileKey is what the shared files have for a profile under a key, if any.
func profileKey(name, key string) string {
	if v := sectionKey(sharedFile("AWS_SHARED_CREDENTIALS_FILE", "credentials"), name, key); v != "" {
		return v
	}
	return sectionKey(sharedFile("AWS_CONFIG_FILE", "config"), name, key)
}

// sharedFile is the path of a file that all programs for Amazon's services read.
func sharedFile(variable, name string) string {
	if path := os.Getenv(variable); path != "" {
		return path
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".aws", name)
}

func sectionKey(path, name, key string) string {
	file, err := ini.Load(path)
	if err != nil {
		return "" // it need not be there
	}
	for _, section := range []string{"profile " + name, name} {
		if s, err := file.GetSection(section); err == nil && s.Key(key).String() != "" {
			return s.Key(key).String()
		}
	}
	return ""
}
