package nodecert

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
)

// Types of PEM blocks, RFC 7468.
const (
	pemCertificate = "CERTIFICATE"
	pemPrivateKey  = "PRIVATE KEY"
)

// Limits on files.
const (
	maxFile         = 1 << 20 // bytes
	maxCertificates = 256     // in one file
)

// ErrPEM says that a file is not what it should be.
var ErrPEM = errors.New("file is malformed")

// CertPEM returns the certificate as a file has it.
func (id *Identity) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: id.Cert.Raw})
}

// KeyPEM returns the key as a file has it. Nobody else may see it.
func (id *Identity) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(id.Key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPrivateKey, Bytes: der}), nil
}

// ReadCerts reads a file of certificates in PEM form, at least one.
func ReadCerts(path string) ([]*x509.Certificate, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	certs, err := ParseCerts(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return certs, nil
}

// ParseCerts reads certificates in PEM form, at least one and at most 256.
func ParseCerts(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		switch {
		case block == nil && len(certs) == 0:
			return nil, fmt.Errorf("%w: it has no certificate in PEM form", ErrPEM)
		case block == nil:
			return certs, nil
		case block.Type != pemCertificate:
			return nil, fmt.Errorf("%w: it has a %s where a certificate should be", ErrPEM, block.Type)
		case len(certs) == maxCertificates:
			return nil, fmt.Errorf("%w: it has more than %d certificates", ErrPEM, maxCertificates)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %w", ErrPEM, len(certs), err)
		}
		certs = append(certs, cert)
	}
}

// ReadIdentity reads a certificate and its key, which nobody but the owner of its
// file may read.
func ReadIdentity(certFile, keyFile string) (*Identity, error) {
	pair, err := readPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return &Identity{Key: pair.PrivateKey.(crypto.Signer), Cert: pair.Leaf}, nil // a Signer: readPair
}

// readPair reads a chain of certificates and the key of the first.
func readPair(certFile, keyFile string) (tls.Certificate, error) {
	certs, err := readFile(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	info, err := os.Stat(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	if mode := info.Mode(); mode.Perm()&0o077 != 0 {
		return tls.Certificate{}, fmt.Errorf("%s has mode %04o; make it a file for its owner alone, as by chmod 600", keyFile, mode.Perm())
	}
	key, err := readFile(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(certs, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate %s and key %s: %w: %w", certFile, keyFile, ErrPEM, err)
	}
	if _, ok := pair.PrivateKey.(crypto.Signer); !ok {
		return tls.Certificate{}, fmt.Errorf("key %s: %w: it cannot sign", keyFile, ErrPEM)
	}
	return pair, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read from
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: %w: it has more than %d bytes", path, ErrPEM, maxFile)
	}
	return text, nil
}
