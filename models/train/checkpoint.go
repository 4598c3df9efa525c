package train

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"

	"github.com/fxamacker/cbor/v2"

	"perigee/models"
)

// A Checkpoint keeps the state of a training, so that one that was interrupted
// goes on where it was and ends with the same network bit for bit.
type Checkpoint interface {
	// Load returns what was saved last, or nil when there is nothing.
	Load() ([]byte, error)
	// Save replaces what was saved. It returns once data is durable.
	Save(data []byte) error
}

// saveEvery is how many steps a training does at most between two checkpoints;
// it makes one behind every epoch too.
const saveEvery = 200

// A checkpoint is:
//
//	8 bytes   "PRGTRAIN"
//	4 bytes   length of the header, big endian
//	header    deterministic CBOR, see checkpointHeader
//	floats    float32, little endian: for every variable its value and its two
//	          moments, and then the best values if there are any
//	32 bytes  SHA-256 of all before
const (
	checkpointMagic   = "PRGTRAIN"
	checkpointVersion = 1
)

type checkpointHeader struct {
	_         struct{} `cbor:",toarray"`
	Version   uint64
	Training  models.Hash // digest of network, samples and options
	Epoch     int
	Done      int    // examples of the epoch that were seen
	Random    []byte // state before the epoch
	Steps     int    // of the solver
	BestEpoch int    // 0: there are no best values
	BestLoss  float64
}

// digest names a training: what it is given and how it goes. A checkpoint of
// another one is of no use.
func digest(net *models.Network, data Data, o Options) models.Hash {
	h := sha256.New()
	fmt.Fprintf(h, "perigee training %d\n%v\n", checkpointVersion, net.Hash())
	fmt.Fprintln(h, o.Epochs, o.Batch, o.LearningRate, o.FinalRate, o.Seed, o.Layers, o.Rank, o.ReplayShare, o.Patience)
	for _, samples := range [][]Sample{data.Learn, data.Replay, data.Check} {
		fmt.Fprintln(h, len(samples))
		for _, s := range samples {
			fmt.Fprintln(h, s.Truth)
			for _, f := range s.Features {
				hashFloats(h, f.Data)
			}
		}
	}
	return models.Hash(h.Sum(nil))
}

func hashFloats(h hash.Hash, values []float32) {
	const chunk = 8192
	buf := make([]byte, 0, 4*chunk)
	for len(values) > 0 {
		n := min(len(values), chunk)
		h.Write(models.AppendFloats(buf[:0], values[:n]))
		values = values[n:]
	}
}

// save makes a checkpoint, if anybody wants one.
func (t *trainer) save() error {
	if t.opts.Checkpoint == nil {
		return nil
	}
	header, err := cbor.Marshal(checkpointHeader{
		Version: checkpointVersion, Training: t.digest, Epoch: t.epoch, Done: t.done, Random: t.before,
		Steps: t.solver.steps, BestEpoch: t.bestEpoch, BestLoss: t.bestLoss,
	})
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	data := binary.BigEndian.AppendUint32([]byte(checkpointMagic), uint32(len(header)))
	data = append(data, header...)
	for _, values := range t.saved() {
		data = models.AppendFloats(data, values)
	}
	sum := sha256.Sum256(data)
	if err := t.opts.Checkpoint.Save(append(data, sum[:]...)); err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	return nil
}

// saved lists the arrays of a checkpoint.
func (t *trainer) saved() [][]float32 {
	var all [][]float32
	for i, v := range t.vars.trained {
		all = append(all, v.data(), t.solver.first[i], t.solver.second[i])
	}
	return append(all, t.best...)
}

// errCheckpoint: what was saved is of no use.
var errCheckpoint = errors.New("unusable checkpoint")

// resume takes up what was saved, or begins anew when there is nothing or when it
// is damaged or of another training.
func (t *trainer) resume() error {
	t.epoch = 1
	if t.opts.Checkpoint == nil {
		return t.begin()
	}
	data, err := t.opts.Checkpoint.Load()
	if err != nil {
		return fmt.Errorf("load checkpoint: %w", err)
	}
	if err := t.restore(data); err != nil && !errors.Is(err, errCheckpoint) {
		return err
	} else if err == nil {
		return nil
	}
	return t.begin()
}

// restore changes nothing unless data is a whole checkpoint of this training.
func (t *trainer) restore(data []byte) error {
	start := len(checkpointMagic) + 4
	if len(data) < start+sha256.Size || string(data[:len(checkpointMagic)]) != checkpointMagic {
		return errCheckpoint
	}
	body, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	if got := sha256.Sum256(body); !bytes.Equal(got[:], sum) {
		return errCheckpoint
	}
	length := int(binary.BigEndian.Uint32(body[len(checkpointMagic):]))
	if length > len(body)-start {
		return errCheckpoint
	}
	var h checkpointHeader
	if err := cbor.Unmarshal(body[start:start+length], &h); err != nil {
		return errCheckpoint
	}
	if h.Version != checkpointVersion || h.Training != t.digest {
		return errCheckpoint
	}
	// What has this digest was made by this program from the same input.
	t.epoch, t.solver.steps, t.bestEpoch, t.bestLoss = h.Epoch, h.Steps, h.BestEpoch, h.BestLoss
	if h.BestEpoch > 0 {
		for _, v := range t.vars.trained {
			t.best = append(t.best, make([]float32, len(v.grad)))
		}
	}
	floats := body[start+length:]
	for _, values := range t.saved() {
		if len(floats) < 4*len(values) {
			return fmt.Errorf("restore checkpoint: it ends early although its digest holds")
		}
		for i := range values {
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(floats[4*i:]))
		}
		floats = floats[4*len(values):]
	}
	if err := t.random.UnmarshalBinary(h.Random); err != nil {
		return fmt.Errorf("restore checkpoint: %w", err)
	}
	if err := t.begin(); err != nil {
		return err
	}
	t.done = h.Done
	return nil
}
