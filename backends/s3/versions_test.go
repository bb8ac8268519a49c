package s3_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/s3"
	"github.com/kura-backup/kura/internal/testserver"
)

// allVersions is every version and every marker of a bucket.
func allVersions(t *testing.T, srv *testserver.S3, bucket string) (out []string) {
	t.Helper()
	for o := range client(t, srv).ListObjects(t.Context(), bucket, minio.ListObjectsOptions{WithVersions: true, Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		kind := "data"
		if o.IsDeleteMarker {
			kind = "marker"
		}
		out = append(out, kind+" "+o.Key)
	}
	return slices.Compact(out) // at the edge of a page some servers repeat themselves
}

func versioned(t *testing.T, srv *testserver.S3) s3.Location {
	t.Helper()
	loc := place(t, srv)
	create(t, loc, s3.Options{})
	if err := client(t, srv).EnableVersioning(t.Context(), loc.Bucket); err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestDelete_BucketWithVersions_FreesThem(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		loc := versioned(t, srv)
		s := open(t, loc, s3.Options{})
		put(t, s, "config", "data/aa", "data/ab", "data/ac")
		// A marker that somebody has left, and one of them with an object behind it.
		for _, name := range []string{"data/zz", "data/ac"} {
			if err := client(t, srv).RemoveObject(t.Context(), loc.Bucket, "some/prefix/"+name, minio.RemoveObjectOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Delete(t.Context(), "data/aa"); err != nil {
			t.Error(err)
		}
		for _, name := range []string{"data/aa", "data/ac", "data/zz", "data/none"} {
			if err := s.Delete(t.Context(), name); !errors.Is(err, backends.ErrNotExist) {
				t.Errorf("%s, which is not there: %v", name, err)
			}
		}
		if got, want := strings.Join(allVersions(t, srv, loc.Bucket), ", "), "data some/prefix/config, data some/prefix/data/ab"; got != want {
			t.Errorf("left: %s; want %s", got, want)
		}
		if kept := s.Kept(); kept.Objects != 0 {
			t.Errorf("kept: %+v", kept)
		}
	})
}

// Neighbours come in one list, and others lie between them: more than one page of them.
func TestDeleteMany_BucketWithVersions_NamesFarApart(t *testing.T) {
	if testing.Short() {
		t.Skip("puts more than a page of objects")
	}
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		loc := versioned(t, srv)
		s := open(t, loc, s3.Options{Connections: 16})
		var all, want []string
		for i := range 1300 {
			all = append(all, fmt.Sprintf("data/%05d", i))
		}
		all = append(all, "log/1", "log/2", "log/3", "config")
		putMany(t, s, all)
		asked := []string{"log/2", "data/00000", "data/00001", "data/01250", "nothing/here", "config"}
		deleted := map[string]bool{}
		err := s.DeleteMany(t.Context(), asked, func(name string, err error) {
			if (err != nil) != (name == "nothing/here") {
				t.Errorf("%s: %v", name, err)
			}
			deleted["some/prefix/"+name] = true
		})
		if err != nil || len(deleted) != len(asked) {
			t.Errorf("%v, %v", deleted, err)
		}
		for _, name := range append([]string{"config"}, all[:len(all)-1]...) {
			if key := "some/prefix/" + name; !deleted[key] {
				want = append(want, "data "+key)
			}
		}
		if diff := cmp.Diff(want, allVersions(t, srv, loc.Bucket)); diff != "" {
			t.Errorf("versions left (-want +got):\n%s", diff)
		}
	})
}

func TestDelete_VersionsAppearWhileTheStoreIsOpen_AreFreed(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		loc := place(t, srv)
		s := create(t, loc, s3.Options{})
		put(t, s, "data/aa", "data/ab")
		if err := s.Delete(t.Context(), "data/aa"); err != nil {
			t.Fatal(err)
		}
		if err := client(t, srv).EnableVersioning(t.Context(), loc.Bucket); err != nil {
			t.Fatal(err)
		}
		put(t, s, "data/ac")
		for _, name := range []string{"data/ab", "data/ac"} {
			if err := s.Delete(t.Context(), name); err != nil {
				t.Error(err)
			}
		}
		if got := allVersions(t, srv, loc.Bucket); len(got) > 0 {
			t.Errorf("left: %v", got)
		}
	})
}

// Credentials that end just then do not mean that the bucket has no versions.
func TestDelete_CredentialsEndAtTheFirst_VersionsAreAskedForAgain(t *testing.T) {
	giveTokens(t)
	var seen []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		query := r.URL.Query()
		switch {
		case r.Header.Get("X-Amz-Security-Token") == "token-1":
			seen = append(seen, "expired")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, xmlError("ExpiredToken"))
		case query.Has("versioning"):
			seen = append(seen, "versioning")
			_, _ = io.WriteString(w, `<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`)
		case query.Has("versions"):
			seen = append(seen, "versions")
			_, _ = io.WriteString(w, `<ListVersionsResult><Version><Key>data/aa</Key><VersionId>v1</VersionId><IsLatest>true</IsLatest></Version></ListVersionsResult>`)
		case query.Has("delete"):
			seen = append(seen, "delete")
			_, _ = io.WriteString(w, `<DeleteResult><Deleted><Key>data/aa</Key><VersionId>v1</VersionId></Deleted></DeleteResult>`)
		}
	}))
	defer srv.Close()
	s := open(t, parse(t, srv.URL+"/bucket"), s3.Options{})
	if err := s.Delete(t.Context(), "data/aa"); !backends.IsTransient(err) && !backends.IsUnclear(err) {
		t.Errorf("%v of kind %v", err, backends.KindOf(err))
	}
	if err := s.Delete(t.Context(), "data/aa"); err != nil {
		t.Error(err)
	}
	if got := strings.Join(seen, " "); got != "expired versioning versions delete" {
		t.Errorf("requests: %s", got)
	}
}

func policy(bucket string, actions ...string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["%s"],"Resource":["arn:aws:s3:::%s","arn:aws:s3:::%s/*"]}]}`,
		strings.Join(actions, `","`), bucket, bucket)
}

func TestDelete_VersionsMayNotBeDeleted_HiddenAndCounted(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		for name, more := range map[string][]string{
			"not even asked for":  nil,
			"not listed":          {"s3:GetBucketVersioning"},
			"listed, not deleted": {"s3:GetBucketVersioning", "s3:ListBucketVersions"},
		} {
			t.Run(name, func(t *testing.T) {
				loc := versioned(t, srv)
				actions := append([]string{"s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:DeleteObject"}, more...)
				srv.Restricted(t, loc.Bucket, policy(loc.Bucket, actions...)).Setenv(t)
				s := open(t, loc, s3.Options{})
				put(t, s, "data/aa", "data/ab", "data/ac")
				if err := s.Delete(t.Context(), "data/aa"); err != nil {
					t.Error(err)
				}
				if err := s.DeleteMany(t.Context(), []string{"data/ab", "data/ac"}, func(name string, err error) {
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}); err != nil {
					t.Error(err)
				}
				if got := names(t, s); len(got) > 0 {
					t.Errorf("to be seen: %v", got)
				}
				if kept := s.Kept(); kept.Objects != 3 || !strings.Contains(kept.Why, "s3:") {
					t.Errorf("kept: %+v", kept)
				}
			})
		}
	})
}
