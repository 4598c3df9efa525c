package main

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"perigee/convergence/nodecert"
)

// certView is how a certificate looks.
type certView struct {
	Subject     string    `json:"subject,omitempty"`
	Issuer      string    `json:"issuer"`
	Authority   bool      `json:"authority"`
	Nodes       []string  `json:"nodes"`
	Hosts       []string  `json:"hosts"`
	Addresses   []string  `json:"addresses"`
	From        time.Time `json:"valid_from"`
	Until       time.Time `json:"valid_until"`
	Expired     bool      `json:"expired"`
	KeyType     string    `json:"key_type"`
	Fingerprint string    `json:"sha256"`
}

func (e *env) viewCert(c *x509.Certificate) (certView, error) {
	nodes, err := nodecert.Nodes(c)
	if err != nil {
		return certView{}, fmt.Errorf("%w: %w", errMalformed, err)
	}
	sum := sha256.Sum256(c.Raw)
	v := certView{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), Authority: c.IsCA,
		Nodes: orEmpty(nodes), Hosts: orEmpty(c.DNSNames), Addresses: []string{},
		From: c.NotBefore.UTC(), Until: c.NotAfter.UTC(), Expired: e.now().Time().After(c.NotAfter),
		KeyType: c.PublicKeyAlgorithm.String(), Fingerprint: hex.EncodeToString(sum[:]),
	}
	for _, ip := range c.IPAddresses {
		v.Addresses = append(v.Addresses, ip.String())
	}
	if key, ok := c.PublicKey.(*ecdsa.PublicKey); ok {
		v.KeyType += " " + key.Curve.Params().Name
	}
	return v, nil
}

func (v certView) table(w io.Writer) {
	what := "certificate of a node"
	if v.Authority {
		what = "authority"
	}
	row(w, "kind", what)
	for _, line := range []struct {
		name   string
		values []string
	}{{"node", v.Nodes}, {"host", v.Hosts}, {"address", v.Addresses}} {
		if len(line.values) > 0 {
			row(w, line.name, strings.Join(line.values, ", "))
		}
	}
	row(w, "subject", orDash(v.Subject))
	row(w, "issuer", orDash(v.Issuer))
	validity := timeText(v.From) + " to " + timeText(v.Until)
	if v.Expired {
		validity += ", expired"
	}
	row(w, "valid", validity)
	row(w, "key type", v.KeyType)
	row(w, "sha256", v.Fingerprint)
}

// timeText is a moment, for people.
func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// shownCert is one certificate of a file.
type shownCert struct {
	File string `json:"file"`
	certView
	Verdict string `json:"verdict,omitempty"` // "valid" or why not; with --ca
}

func newKeysShow(e *env) *cobra.Command {
	var ca string
	cmd := &cobra.Command{
		Use:   "show FILE...",
		Short: "Show what is in certificates",
		Long: `Show prints the certificates in files in PEM form: whom they name, who signed them
and how long they are valid. It reads no private keys.

With --ca it also judges the first certificate of each file as a neighbour would who
trusts that authority, and exits with 1 when one is not valid.`,
		Example: `  perigee keys show sat/node.crt
  perigee keys show --ca ca/ca.crt sat/node.crt ground/node.crt
  perigee keys show -o json ca/ca.crt`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exactArgs("FILE")(cmd, args)
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return runKeysShow(e, ca, args) },
	}
	cmd.Flags().StringVar(&ca, "ca", "", "judge by the authority in this `file`")
	return cmd
}

func runKeysShow(e *env, ca string, files []string) error {
	var roots *x509.CertPool
	if ca != "" {
		certs, err := nodecert.ReadCerts(ca)
		if err != nil {
			return fmt.Errorf("keys show: reading the authority: %w", err)
		}
		roots = x509.NewCertPool()
		for _, c := range certs {
			roots.AddCert(c)
		}
	}
	shown := []shownCert{}
	bad := 0
	for _, file := range files {
		certs, err := nodecert.ReadCerts(file)
		if err != nil {
			return fmt.Errorf("keys show: %w", err)
		}
		for i, c := range certs {
			s := shownCert{File: file}
			if s.certView, err = e.viewCert(c); err != nil {
				return fmt.Errorf("keys show: %s: %w", file, err)
			}
			if roots != nil && i == 0 {
				s.Verdict = "valid"
				if _, err := nodecert.Verify(certs, roots, e.now().Time()); err != nil {
					s.Verdict = err.Error()
					bad++
				}
			}
			shown = append(shown, s)
		}
	}
	err := e.print(shown, func(w io.Writer) {
		for i, s := range shown {
			if i > 0 {
				row(w)
			}
			row(w, "file", s.File)
			s.certView.table(w)
			if s.Verdict != "" {
				row(w, "verdict", s.Verdict)
			}
		}
	})
	if err == nil && bad > 0 {
		err = fmt.Errorf("keys show: %d of %d files hold no valid certificate", bad, len(files))
	}
	return err
}
