// Package nodecert makes, reads and judges the certificates with which nodes prove
// who they are: the profile of RFC 9174 section 4.4.2.
//
// Such a certificate names its node as an EID in its subjectAltName (a NODE-ID),
// and may name hosts and addresses beside it. The package knows node IDs as text
// only; who uses it says which texts mean the same node.
package nodecert
