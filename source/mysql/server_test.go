package mysql

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"testing"

	driver "github.com/go-sql-driver/mysql"
)

func TestHasEnded_ErrorsOfDriverAndServers(t *testing.T) {
	for _, err := range []error{
		sqldriver.ErrBadConn, driver.ErrInvalidConn, sql.ErrConnDone, &driver.MySQLError{Number: 1927, Message: "Connection was killed"},
		&driver.MySQLError{Number: 4031, Message: "The client was disconnected by the server because of inactivity"},
	} {
		if !hasEnded(fmt.Errorf("wrapped: %w", err)) {
			t.Errorf("%v", err)
		}
	}
	for _, err := range []error{nil, errors.New("x"), context.Canceled, &driver.MySQLError{Number: 1205}, &driver.MySQLError{Number: 1317, Message: "Query execution was interrupted"}} {
		if hasEnded(err) {
			t.Errorf("%v", err)
		}
	}
}
