package testserver

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Restricted returns credentials that may do in a bucket, which must be there, what a policy permits and
// nothing else. The policy is one as it is attached to a user: statements without a principal.
//
// MinIO gives temporary credentials. Versitygw has no policies of users, so that a new user gets one of the
// bucket, in place of those before.
func (s *S3) Restricted(t testing.TB, bucket, policy string) Keys {
	t.Helper()
	keys, err := s.restricted(bucket, policy)
	if err != nil {
		t.Fatalf("testserver: %v", err)
	}
	return keys
}

func (s *S3) restricted(bucket, policy string) (Keys, error) {
	if s.Name == "minio" {
		c, err := credentials.NewSTSAssumeRole(s.Endpoint, credentials.STSAssumeRoleOptions{
			AccessKey: s.AccessKey, SecretKey: s.SecretKey, Policy: policy, DurationSeconds: int(time.Hour.Seconds()),
		})
		if err != nil {
			return Keys{}, err
		}
		v, err := c.GetWithContext(nil)
		return Keys{AccessKey: v.AccessKeyID, SecretKey: v.SecretAccessKey, Token: v.SessionToken}, err
	}
	keys := Keys{AccessKey: "user" + random(4), SecretKey: random(16)}
	out, err := exec.Command(s.program, "admin", "--access", s.AccessKey, "--secret", s.SecretKey, "--endpoint-url", s.Endpoint,
		"create-user", "--access", keys.AccessKey, "--secret", keys.SecretKey, "--role", "user").CombinedOutput()
	if err != nil {
		return Keys{}, fmt.Errorf("create-user: %w: %s", err, out)
	}
	policy, err = withPrincipal(policy, keys.AccessKey)
	if err != nil {
		return Keys{}, err
	}
	client, err := s.Client()
	if err != nil {
		return Keys{}, err
	}
	return keys, client.SetBucketPolicy(context.Background(), bucket, policy)
}

// withPrincipal makes a bucket's policy of a user's.
func withPrincipal(policy, user string) (string, error) {
	var doc map[string]any
	if err := json.Unmarshal([]byte(policy), &doc); err != nil {
		return "", err
	}
	statements, ok := doc["Statement"].([]any)
	if !ok {
		return "", fmt.Errorf("a policy without statements: %s", policy)
	}
	for _, s := range statements {
		if m, ok := s.(map[string]any); ok {
			m["Principal"] = map[string]any{"AWS": []string{user}}
		}
	}
	out, err := json.Marshal(doc)
	return string(out), err
}
