package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"perigee/bundle"
	"perigee/convergence/nodecert"
)

// Files of keys and certificates, in the folders that are named.
const (
	caCertFile   = "ca.crt"
	caKeyFile    = "ca.key"
	nodeCertFile = "node.crt"
	nodeKeyFile  = "node.key"
)

// Modes of what is written.
const (
	keyMode    = 0o600
	certMode   = 0o644
	keysFolder = 0o700
)

// maxDays is how long a certificate may last: a hundred years.
const maxDays = 36_500

func newKeys(e *env) *cobra.Command {
	return group("keys", "Make certificates with which nodes prove who they are",
		`Keys makes a certificate authority for a laboratory or a mission, and certificates
of nodes that it signs. With them TCPCLv4 sessions run over TLS 1.3 and each side
proves its node ID (RFC 9174 section 4.4); see [tls] in the configuration of perigeed.

Keys are of the kind ECDSA P-256. Files with private keys can be read by their owner
alone. The key of the authority is needed only to sign: keep it off the nodes.`,
		newKeysCA(e), newKeysNode(e), newKeysShow(e))
}

type keysCAOptions struct {
	name  string
	days  int
	out   string
	force bool
}

func newKeysCA(e *env) *cobra.Command {
	var opts keysCAOptions
	cmd := &cobra.Command{
		Use:   "ca --out FOLDER",
		Short: "Make a certificate authority",
		Long: `Ca makes a certificate authority: ca.crt, which every node gets, and ca.key, which
signs the certificates of nodes and which no node needs.`,
		Example: `  perigee keys ca --out ca
  perigee keys ca --out ca --name "Tiansuan lab" --days 3650`,
		Args: exactArgs(),
		RunE: func(*cobra.Command, []string) error { return runKeysCA(e, opts) },
	}
	f := cmd.Flags()
	f.StringVar(&opts.name, "name", "Perigee CA", "`name` of the authority, for people")
	f.IntVar(&opts.days, "days", 3650, "`number` of days for which it is valid")
	f.StringVar(&opts.out, "out", "", "`folder` for ca.crt and ca.key (required)")
	f.BoolVar(&opts.force, "force", false, "replace files that are there")
	return cmd
}

func runKeysCA(e *env, opts keysCAOptions) error {
	until, err := validUntil(e, opts.days)
	if err != nil {
		return err
	}
	if opts.out == "" {
		return usagef("keys ca: --out is missing; name the folder for the files")
	}
	ca, err := nodecert.NewCA(opts.name, e.now().Time(), until)
	if err != nil {
		return fmt.Errorf("keys ca: %w", err)
	}
	return e.writeIdentity(ca, opts.out, caCertFile, caKeyFile, opts.force, nil)
}

type keysNodeOptions struct {
	node  string
	ca    string
	hosts []string
	ips   []string
	days  int
	out   string
	force bool
}

func newKeysNode(e *env) *cobra.Command {
	var opts keysNodeOptions
	cmd := &cobra.Command{
		Use:   "node NODE-ID --ca FOLDER --out FOLDER",
		Short: "Make a certificate of a node",
		Long: `Node makes a key and a certificate of a node, signed by an authority that "perigee
keys ca" made. It writes node.crt and node.key, and ca.crt beside them: what [tls] in
the configuration of the node's perigeed names.

The certificate proves the node ID, wherever the node is reached. Names of hosts and
addresses are for neighbours that look at these.`,
		Example: `  perigee keys node ipn:2.0 --ca ca --out sat
  perigee keys node dtn://ground/ --ca ca --out ground --host ground.example --ip 192.0.2.7 --days 90`,
		Args: exactArgs("NODE-ID"),
		RunE: func(_ *cobra.Command, args []string) error {
			opts.node = args[0]
			return runKeysNode(e, opts)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.ca, "ca", "", "`folder` with ca.crt and ca.key (required)")
	f.StringSliceVar(&opts.hosts, "host", nil, "`name` of a host at which the node is reached; may be given again")
	f.StringSliceVar(&opts.ips, "ip", nil, "network `address` of the node; may be given again")
	f.IntVar(&opts.days, "days", 365, "`number` of days for which it is valid, at most as long as the authority is")
	f.StringVar(&opts.out, "out", "", "`folder` for node.crt, node.key and ca.crt (required)")
	f.BoolVar(&opts.force, "force", false, "replace files that are there")
	return cmd
}

func runKeysNode(e *env, opts keysNodeOptions) error {
	names, err := opts.names()
	if err != nil {
		return err
	}
	until, err := validUntil(e, opts.days)
	if err != nil {
		return err
	}
	switch {
	case opts.ca == "":
		return usagef("keys node: --ca is missing; name the folder that perigee keys ca made")
	case opts.out == "":
		return usagef("keys node: --out is missing; name the folder for the files")
	}
	ca, err := nodecert.ReadIdentity(filepath.Join(opts.ca, caCertFile), filepath.Join(opts.ca, caKeyFile))
	if err != nil {
		return fmt.Errorf("keys node: reading the authority: %w", err)
	}
	if now := e.now().Time(); now.After(ca.Cert.NotAfter) {
		return fmt.Errorf("keys node: the authority has expired at %s; make another one with perigee keys ca", timeText(ca.Cert.NotAfter))
	}
	node, err := nodecert.NewNode(ca, names, e.now().Time(), until)
	if err != nil {
		return fmt.Errorf("keys node: %w", err)
	}
	return e.writeIdentity(node, opts.out, nodeCertFile, nodeKeyFile, opts.force, ca)
}

// names are what the certificate is to prove.
func (o *keysNodeOptions) names() (nodecert.Names, error) {
	id, err := bundle.ParseEID(o.node)
	switch {
	case err != nil:
		return nodecert.Names{}, usagef("keys node: %w", err)
	case id.IsNull() || id.Node() != id:
		return nodecert.Names{}, usagef("keys node: %s is not a node; write a node ID, such as %q", id, id.Node())
	}
	n := nodecert.Names{Node: id.String(), Hosts: o.hosts}
	for _, host := range o.hosts {
		if host == "" || strings.ContainsAny(host, " /:@") {
			return nodecert.Names{}, usagef("keys node: --host %q is no name of a host", host)
		}
	}
	for _, text := range o.ips {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return nodecert.Names{}, usagef("keys node: --ip %q is no network address", text)
		}
		n.IPs = append(n.IPs, ip)
	}
	return n, nil
}

// validUntil is the end of so many days.
func validUntil(e *env, days int) (time.Time, error) {
	if days < 1 || days > maxDays {
		return time.Time{}, usagef("keys: --days is %d; write 1 to %d", days, maxDays)
	}
	return e.now().Time().AddDate(0, 0, days), nil
}

// madeKeys is what is shown about files that were written.
type madeKeys struct {
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
	CA          string `json:"ca,omitempty"`
	certView
}

// writeIdentity writes a certificate, its key and, of a node, the authority that
// signed it into a folder.
func (e *env) writeIdentity(id *nodecert.Identity, folder, certName, keyName string, force bool, ca *nodecert.Identity) error {
	view := madeKeys{Certificate: filepath.Join(folder, certName), Key: filepath.Join(folder, keyName)}
	key, err := id.KeyPEM()
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	files := []keyFile{{view.Key, key, keyMode}, {view.Certificate, id.CertPEM(), certMode}}
	if ca != nil {
		view.CA = filepath.Join(folder, caCertFile)
		files = append(files, keyFile{view.CA, ca.CertPEM(), certMode})
	}
	if err := writeKeyFiles(folder, files, force); err != nil {
		return err
	}
	if view.certView, err = e.viewCert(id.Cert); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	return e.print(view, func(w io.Writer) {
		row(w, "certificate", view.Certificate)
		row(w, "key", view.Key)
		if view.CA != "" {
			row(w, "authority", view.CA)
		}
		view.certView.table(w)
	})
}

type keyFile struct {
	path string
	text []byte
	mode fs.FileMode
}

// writeKeyFiles writes files into a folder that it makes, all or, when one of them is
// there already and may not be replaced, none.
func writeKeyFiles(folder string, files []keyFile, force bool) error {
	if err := os.MkdirAll(folder, keysFolder); err != nil {
		return fmt.Errorf("keys: making the folder: %w", err)
	}
	for _, f := range files {
		if _, err := os.Lstat(f.path); !force && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keys: %s is there already; choose another folder, or --force to replace it", f.path)
		}
	}
	for _, f := range files {
		if err := renameio.WriteFile(f.path, f.text, f.mode); err != nil {
			return fmt.Errorf("keys: writing %s: %w", f.path, err)
		}
	}
	return nil
}
