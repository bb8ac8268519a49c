package mysql

import "errors"

// What can be wrong with a server, or a backup of it.
var (
	// ErrPrivileges is an account that may not do what is needed.
	ErrPrivileges = errors.New("mysql: the account lacks privileges")
	// ErrNonTransactional is tables of which a consistent backup needs a lock.
	ErrNonTransactional = errors.New("mysql: tables whose engine has no transactions")
	// ErrDefinitionChanged is a table that was altered while it was dumped. A second try helps.
	ErrDefinitionChanged = errors.New("mysql: a table was altered, truncated or made while the dump ran")
	// ErrProgram is a program that is not there, or is of another vendor.
	ErrProgram = errors.New("mysql: a program is missing")
	// ErrFailed is a program that failed.
	ErrFailed = errors.New("mysql: a program failed")
	// ErrBusy is a server on which something runs that a lock would have to wait for.
	ErrBusy = errors.New("mysql: the server is busy")
	// ErrHeldTooLong is a lock that was released before what it was for was done.
	ErrHeldTooLong = errors.New("mysql: the lock was held too long, and released")
	// ErrLockLost is a lock that the server took back, by ending the connection.
	ErrLockLost = errors.New("mysql: the lock was lost")
	// ErrViewLost is a connection that has ended on which the checksums of tables were asked for.
	ErrViewLost = errors.New("mysql: the connection for CHECKSUM TABLE was lost")
	// ErrNoDatabase is a database or table that is not there.
	ErrNoDatabase = errors.New("mysql: no such database or table")
	// ErrOtherServer is a program that asks another server than this process does.
	ErrOtherServer = errors.New("mysql: the vendor's program is connected to another server")
	// ErrHistory is system-versioned tables whose history the dump program can not dump.
	ErrHistory = errors.New("mysql: the history of tables can not be dumped")
	// ErrRunning is a server that works with the files.
	ErrRunning = errors.New("mysql: a server works in this folder")
	// ErrExists is something that would be overwritten.
	ErrExists = errors.New("mysql: it exists already")
	// ErrManifest is a manifest that can not be.
	ErrManifest = errors.New("mysql: not the manifest of a backup")
	// ErrDiffers is what is not as it was in the backup after it was loaded.
	ErrDiffers = errors.New("mysql: what was loaded is not what was backed up")
	// ErrDefaults is an option file that can not be followed.
	ErrDefaults = errors.New("mysql: defaults file")
)
