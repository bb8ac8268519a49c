package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/kura-backup/kura/backends"
)

var (
	// ErrOptions is wrapped by errors about Options.
	ErrOptions = errors.New("s3: invalid option")

	// ErrNoCredentials is returned where no credentials are found.
	ErrNoCredentials = errors.New("s3: no credentials")

	// ErrNoLock is returned by Put where objects are to be locked in a bucket that can not lock them.
	ErrNoLock = errors.New("s3: the bucket was made without Object Lock, which most stores can only switch on when they make one")

	// ErrArchived is returned by Get for an object in a storage class that has to be restored first.
	ErrArchived = errors.New("s3: the object is archived, and has to be restored by the store's own means before it can be read")

	// ErrRegion is returned where requests go to another region than the bucket's.
	ErrRegion = errors.New("s3: the bucket is in another region")

	// ErrClock is returned where the server finds this machine's clock too far off.
	ErrClock = errors.New("s3: this machine's clock differs from the store's by more than it allows")

	// ErrTLS is returned where server and client do not trust each other.
	ErrTLS = errors.New("s3: no trusted connection")

	// ErrMoved is returned where what answers sends its clients to another address.
	ErrMoved = errors.New("s3: the server is at another address")

	// ErrServer is returned for answers that no S3 server should give.
	ErrServer = errors.New("s3: the server's answer makes no sense")
)

// request is what an error is about.
type request struct {
	op     string // as in backends.Error
	name   string
	action string // the permission that it needs
	write  bool   // without an answer it may have been done
}

// unknown is the kind of a failure of which it is not known whether the server did what it was asked to.
func (r request) unknown() backends.Kind {
	if r.write {
		return backends.Unclear
	}
	return backends.Transient
}

// fail returns the error of a request, with what its caller may do.
func (s *Store) fail(ctx context.Context, r request, err error) error {
	if err == nil {
		return nil
	}
	answered := saidSo(err)
	kind, err := s.judge(ctx, r, err)
	return &backends.Error{Op: r.op, Name: r.name, Kind: kind, Err: err, Answered: answered}
}

// saidSo says whether an error is that of an S3 server, and not of what else may be at its address. Where there is no
// code in an answer, the client puts its status there.
func saidSo(err error) bool {
	a, ok := errors.AsType[minio.ErrorResponse](err)
	return ok && a.StatusCode != 0 && a.Code != "" && !strings.Contains(a.Code, " ")
}

func (s *Store) judge(ctx context.Context, r request, err error) (backends.Kind, error) {
	if answer, ok := errors.AsType[minio.ErrorResponse](err); ok {
		return s.judgeAnswer(r, answer)
	}
	for _, final := range []error{
		backends.ErrNotExist, backends.ErrExist, backends.ErrRange, backends.ErrTooLarge, backends.ErrLocked,
		backends.ErrName, backends.ErrEmpty, backends.ErrDenied, ErrNoCredentials, ErrMoved,
	} {
		if errors.Is(err, final) {
			return backends.Permanent, err
		}
	}
	if ctx.Err() != nil {
		return r.unknown(), fmt.Errorf("%w (%v)", context.Cause(ctx), err)
	}
	if text := untrusted(err); text != "" {
		return backends.Permanent, fmt.Errorf("%w: %s: %w", ErrTLS, text, err)
	}
	if oe, ok := errors.AsType[*net.OpError](err); ok && oe.Op == "dial" {
		return backends.Transient, err
	}
	return r.unknown(), err
}

// untrusted says what to do about a failure of TLS that trying again does not mend.
func untrusted(err error) string {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the server's certificate is not one to trust (--cacert names further authorities)"
	}
	if oe, ok := errors.AsType[*net.OpError](err); ok && oe.Op == "remote error" && refuses(oe.Err) {
		return "the server refuses it (it may want a certificate: --tls-client-cert)"
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return "the server does not speak TLS (then the location starts with s3:http://)"
	}
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok && e.Conn != nil { // otherwise it spoke TLS before
		return "the server does not speak TLS (then the location starts with s3:http://)"
	}
	return ""
}

// refusals are the alerts of a server that does not like our certificate, or wants to see one, or speaks
// another TLS. Others, as after a byte that was changed on its way, can come at any time, and not again.
var refusals = []tls.AlertError{40, 42, 43, 44, 45, 46, 48, 49, 70, 71, 112, 116}

func refuses(alert error) bool {
	return slices.ContainsFunc(refusals, func(r tls.AlertError) bool { return r.Error() == alert.Error() })
}

// judgeAnswer judges what a server has said.
func (s *Store) judgeAnswer(r request, a minio.ErrorResponse) (backends.Kind, error) {
	text := a.Message
	switch {
	case strings.HasPrefix(text, "<"):
		text = a.Code + ", with a page that is no S3 server's, but perhaps that of a proxy before it"
	case !strings.Contains(text, a.Code):
		text = strings.TrimSpace(a.Code + ": " + text)
	}
	wrap := func(err error) error { return fmt.Errorf("%w: %s", err, text) }
	plain := fmt.Errorf("s3: %s", text)

	switch a.Code {
	case minio.NoSuchBucket:
		return backends.Permanent, fmt.Errorf("%w: there is no bucket %s", backends.ErrNoStore, s.bucket)
	case minio.NoSuchKey, minio.NoSuchVersion:
		return backends.Permanent, backends.ErrNotExist
	case "InvalidObjectState":
		return backends.Permanent, wrap(ErrArchived)
	case "RequestTimeTooSkewed":
		return backends.Permanent, wrap(ErrClock)
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidTokenId", "XAdminUserNotFound":
		return backends.Permanent, wrongKey(text)
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired":
		return s.expired(text)
	case "AuthorizationHeaderMalformed", "InvalidRegion", "PermanentRedirect":
		if a.Code == "AuthorizationHeaderMalformed" && a.Region == "" && !aboutRegion(text) { // as of a key with a blank in it
			return backends.Permanent, wrongKey(text)
		}
		return backends.Permanent, otherRegion(a, text)
	case "BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "IncompleteBody", "RequestTimeout", "TemporaryRedirect":
		return backends.Transient, plain
	case "SlowDown", "Throttling", "ThrottlingException", "RequestThrottled", "RequestLimitExceeded",
		"RequestRateLimitExceeded", "XMinioServerNotInitialized":
		return backends.Transient, plain // refused unread, whatever the status
	case "ClientDisconnect", "ConnectionClosed", "DisconnectError": // it has lost the connection, and answers all the same
		return r.unknown(), plain
	case "QuotaExceeded", "AccountProblem", "AllAccessDisabled": // 403, and not for want of a permission
		return backends.Permanent, plain
	case "RequestHeaderSectionTooLarge", "400 Bad Request", "431 Request Header Fields Too Large":
		if a.Code == "400 Bad Request" && a.Region != "" && s.region != "" && a.Region != s.region { // Amazon's answer to a HEAD has no more than that
			return backends.Permanent, otherRegion(a, text)
		}
		// No request of ours is like that: on a kept connection the end of an earlier one's body, which the server
		// had answered early, was taken for this one. Or it was a HEAD, whose answer can not say that the
		// credentials have expired.
		s.renew()
		return r.unknown(), plain
	}
	if r.op == "put" {
		if kind, err := s.judgePut(a, text); err != nil {
			return kind, err
		}
	}
	switch status := a.StatusCode; {
	case status == http.StatusUnauthorized:
		return backends.Permanent, wrongKey(text)
	case status == http.StatusForbidden:
		return backends.Permanent, denied(r, text)
	case status == http.StatusMovedPermanently:
		return backends.Permanent, otherRegion(a, text)
	case status == http.StatusConflict, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return backends.Transient, plain
	case status == http.StatusNotImplemented:
		return backends.Permanent, plain
	case status >= 500, a.Code == minio.InternalError: // the client says this of headers that can not be
		return r.unknown(), plain
	}
	return backends.Permanent, plain
}

func otherRegion(a minio.ErrorResponse, text string) error {
	if a.Region != "" {
		return fmt.Errorf("%w: %s (-o s3.region=%s)", ErrRegion, a.Region, a.Region)
	}
	return fmt.Errorf("%w: %s", ErrRegion, text)
}

func wrongKey(text string) error {
	return fmt.Errorf("%w: the access key, its secret or its token is wrong: %s", backends.ErrDenied, text)
}

// aboutRegion says whether a text about a signature is about the region in it, which is a part of its scope.
func aboutRegion(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "region") || strings.Contains(text, "scope")
}

func denied(r request, text string) error {
	action := r.action
	if _, rest, ok := strings.Cut(text, "is not authorized to perform: "); ok { // Amazon says it, and it may be one for the bucket's key
		action, _, _ = strings.Cut(rest, " ")
	}
	return fmt.Errorf("%w: it needs %s: %s", backends.ErrDenied, action, text)
}

// judgePut judges what can only be said to a Put.
func (s *Store) judgePut(a minio.ErrorResponse, text string) (backends.Kind, error) {
	switch {
	case a.StatusCode == http.StatusPreconditionFailed:
		return backends.Permanent, backends.ErrExist
	case !s.opts.NoCreateOnly && refusesCondition(a):
		return backends.Permanent, fmt.Errorf("%w: the server does not know If-None-Match: %s", backends.ErrNoCreateOnly, text)
	case a.Code == "InvalidRequest" && s.opts.LockDays > 0:
		return backends.Permanent, fmt.Errorf("%w: %s", ErrNoLock, text)
	}
	return 0, nil
}

// refusesCondition says whether a server knows no If-None-Match. Most do not say which header they do not know.
func refusesCondition(a minio.ErrorResponse) bool {
	text := strings.ToLower(a.Message)
	switch {
	case strings.Contains(text, "if-none-match"):
		return a.StatusCode == http.StatusNotImplemented || a.StatusCode == http.StatusBadRequest
	case strings.Contains(text, "x-amz-"): // as for a storage class, or a lock
		return false
	}
	return a.StatusCode == http.StatusNotImplemented
}

// expired is about credentials whose time is over. Those that can be had anew are asked for again.
func (s *Store) expired(text string) (backends.Kind, error) {
	err := fmt.Errorf("%w: the credentials have expired: %s", backends.ErrDenied, text)
	if !s.renew() {
		return backends.Permanent, err
	}
	return backends.Transient, err
}

// renew lets the next request have new credentials, unless they are those of the environment, which stay as they are.
func (s *Store) renew() bool {
	if inEnvironment() && s.opts.Profile == "" {
		return false
	}
	s.creds.Expire()
	return true
}
