package testserver

// StartVersitygw starts versitygw for a program that is no test; stop ends it and removes what it has stored.
func StartVersitygw() (s *S3, stop func(), err error) { return startVersitygw() }

// Folder is where versitygw keeps a bucket's objects as files.
func (s *S3) Folder(bucket string) string { return s.path("data/" + bucket) }
