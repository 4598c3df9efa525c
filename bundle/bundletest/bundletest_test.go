package bundletest_test

import (
	"bytes"
	"testing"

	"perigee/bundle"
	"perigee/bundle/bundletest"
	"perigee/bundle/dtntime"
)

func TestBytesAreABundle(t *testing.T) {
	custodian := bundletest.EID("ipn:10.0")
	raw := bundletest.Bytes(1, 1000,
		bundletest.To(bundletest.EID("dtn://ground/models")),
		bundletest.Custody(custodian, 3, 7),
		bundletest.Priority(bundle.PriorityExpedited),
		bundletest.Age(5*dtntime.Second),
		bundletest.Hops(30, 2),
		bundletest.PreviousNode(bundletest.EID("ipn:9.0")),
		bundletest.Sequence(8))
	b, payload, err := bundle.Parse(raw, bundle.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Check(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(payload, bundletest.Payload(1, 1000)) {
		t.Error("payload is not the one drawn from the seed")
	}
	if got := b.ID().String(); got != "ipn:1.10@833587200000.8" {
		t.Errorf("ID is %s", got)
	}
	c, ok := b.Custody()
	if !ok || c != (bundle.Custody{SeqNum: 7, SeqID: 3, Custodian: custodian}) {
		t.Errorf("custody is %+v, %v", c, ok)
	}
	if got := bundletest.Created.String(); got != "2026-06-01T00:00:00.000Z" {
		t.Errorf("samples are created at %s", got)
	}
}
