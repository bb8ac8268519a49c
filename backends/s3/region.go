package s3

import (
	"net/url"
	"os"
	"strings"

	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// regionHosts are hosts of which the region is a part: what is between the two strings.
var regionHosts = []struct{ before, after string }{
	{"s3.", ".scw.cloud"},
	{"s3.", ".wasabisys.com"},
	{"s3.", ".backblazeb2.com"},
	{"s3.", ".io.cloud.ovh.net"},
	{"", ".digitaloceanspaces.com"},
	{"", ".linodeobjects.com"},
	{"", ".your-objectstorage.com"},
}

const defaultRegion = "us-east-1"

// findRegion returns the region of a bucket, empty where Amazon has to be asked for it. No other server is
// asked: that would be one more round trip, and most take any.
func findRegion(loc Location, o Options) string {
	u := url.URL{Scheme: "https", Host: loc.Host}
	for _, region := range []string{
		o.Region,
		s3utils.GetRegionFromURL(u), // a host that was written out says more than an environment
		os.Getenv("AWS_REGION"),
		os.Getenv("AWS_DEFAULT_REGION"),
		profileRegion(o.Profile),
	} {
		if region != "" {
			return region
		}
	}
	if s3utils.IsAmazonEndpoint(u) {
		return ""
	}
	for _, h := range regionHosts {
		if rest, ok := strings.CutSuffix(loc.hostname(), h.after); ok {
			if region, ok := strings.CutPrefix(rest, h.before); ok && !strings.Contains(region, ".") {
				return region
			}
		}
	}
	return defaultRegion
}
