package payload

import (
	"perigee/bundle/dtntime"
	"perigee/models"
)

// Telemetry is how a satellite is doing. Counters run since the satellite was
// commissioned.
type Telemetry struct {
	_              struct{}     `cbor:",toarray"`
	Time           dtntime.Time // when it was measured
	Model          models.Hash  // network that runs
	ModelVersion   uint64       // its version number, 0 for the one it was launched with
	Taken          uint64       // pictures taken
	Hard           uint64       // of these, found hard
	Sent           uint64       // of these, handed to the link in batches
	TakenBytes     uint64       // bytes of the pictures taken
	SentBytes      uint64       // bytes of the batches sent
	StorageUsed    uint64       // bytes
	StorageFree    uint64       // bytes
	Battery        float32      // state of charge, percent
	Temperature    float32      // degrees Celsius
	PendingBatches uint64       // batches that no ground station has yet
	Probation      uint64       // pictures that the network has yet to look at before it has proved itself; 0: it has
}

// Kind returns KindTelemetry.
func (*Telemetry) Kind() Kind { return KindTelemetry }

// Encode implements Message.
func (t *Telemetry) Encode() ([]byte, error) { return encode(t, *t) }

// DecodeTelemetry reads a Telemetry.
func DecodeTelemetry(data []byte) (*Telemetry, error) {
	t, err := decode[Telemetry](data, KindTelemetry)
	if err != nil {
		return nil, err
	}
	if err := confirm(&t, data); err != nil {
		return nil, err
	}
	return &t, nil
}

func (t *Telemetry) check() error {
	return checkFinite("battery or temperature", float64(t.Battery), float64(t.Temperature))
}
