package mysql

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"
)

// Config says where a server is and who asks. The zero value is the server at the usual socket of this machine, and the
// user that this process runs as.
type Config struct {
	Host     string // empty, or localhost: the socket
	Port     int    // 0: 3306
	Socket   string // empty: the first usual one that is there
	User     string
	Password string

	// Label is what the server is called in paths of snapshots; empty is its host, or local.
	Label string

	// CA, Cert and Key are files for TLS. With a CA the server has to prove who it is.
	CA, Cert, Key string
}

// idleFor is for how long a connection may be idle. With a lock it is Limits.Hold.
const idleFor = 7 * 24 * time.Hour

// sockets are where distributions put them.
var sockets = []string{"/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock"}

// Local reports whether the server is asked through a socket.
func (c *Config) Local() bool {
	return c.Socket != "" && (c.Host == "" || c.Host == "localhost") || c.Port == 0 && (c.Host == "" || c.Host == "localhost")
}

// Name is what the server is called in paths of snapshots.
func (c *Config) Name() string {
	switch {
	case c.Label != "":
		return c.Label
	case c.Local():
		return "local"
	case c.Host == "":
		return "localhost"
	}
	return c.Host
}

func (c *Config) socket() string {
	if c.Socket != "" {
		return c.Socket
	}
	for _, path := range sockets {
		if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
			return path
		}
	}
	return sockets[0]
}

func (c *Config) host() string {
	if c.Host == "" || c.Host == "localhost" {
		return "127.0.0.1" // programs of both vendors take localhost for the socket
	}
	return c.Host
}

func (c *Config) port() int {
	if c.Port == 0 {
		return 3306
	}
	return c.Port
}

// Address is where the server is, for messages.
func (c *Config) Address() string {
	if c.Local() {
		return c.socket()
	}
	return net.JoinHostPort(c.host(), strconv.Itoa(c.port()))
}

// driver makes the driver's configuration.
func (c *Config) driver() (*driver.Config, error) {
	d := driver.NewConfig()
	d.User, d.Passwd = c.User, c.Password
	d.Net, d.Addr = "unix", c.socket()
	d.Timeout = 10 * time.Second
	// While a program works for hours, nothing is asked; servers that end idle connections after minutes would end this one.
	d.Params = map[string]string{"wait_timeout": strconv.Itoa(int(idleFor.Seconds()))}
	d.Logger = driver.Logger(&driver.NopLogger{})
	if c.Local() {
		return d, nil
	}
	d.Net, d.Addr = "tcp", c.Address()
	if c.CA == "" {
		d.TLSConfig = "preferred"
		return d, nil
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, err
	}
	d.TLS = &tls.Config{ServerName: c.host(), RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	if !d.TLS.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: %s has no certificates", ErrDefaults, c.CA)
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, err
		}
		d.TLS.Certificates = []tls.Certificate{pair}
	}
	return d, nil
}

// optionFile is the configuration as programs of a vendor read it. It says all that they could have from elsewhere: given a socket,
// MariaDB's go to the host that the environment names nevertheless, unless they are told one.
func (c *Config) optionFile(mariaDB bool) string {
	var b strings.Builder
	b.WriteString("[client]\n")
	add := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s=\"%s\"\n", key, optionEscapes.Replace(value))
		}
	}
	add("user", c.User)
	add("password", c.Password)
	if c.Local() {
		add("host", "localhost")
		add("socket", c.socket())
		add("protocol", "socket")
	} else {
		add("host", c.host())
		add("port", strconv.Itoa(c.port()))
		add("protocol", "tcp")
		add("ssl-ca", c.CA)
		add("ssl-cert", c.Cert)
		add("ssl-key", c.Key)
		c.tlsOptions(&b, mariaDB)
	}
	return b.String()
}

// tlsOptions asks for TLS as the driver does it. A CA alone does not: older programs of MariaDB go on without TLS where the server says that
// it has none, and those of both vendors take any certificate that the CA has signed.
func (c *Config) tlsOptions(b *strings.Builder, mariaDB bool) {
	switch {
	case mariaDB && c.CA != "":
		b.WriteString("ssl\nssl-verify-server-cert\n")
	case mariaDB:
		b.WriteString("ssl\nskip-ssl-verify-server-cert\n")
	case c.CA != "":
		b.WriteString("ssl-mode=VERIFY_IDENTITY\n")
	}
}

var optionEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`)
