package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"perigee/agent/mail"
	"perigee/agent/record"
	"perigee/bundle"
	"perigee/models/payload"
)

// maxRecord bounds RecordConfig.Max: a file for each.
const maxRecord = 1_000_000

// RecordConfig bounds the record of what was found in the pictures.
type RecordConfig struct {
	Max int `toml:"max"` // pictures, 0 for no record; 10000
}

func (c RecordConfig) validate() error {
	if c.Max < 0 || c.Max > maxRecord {
		return fmt.Errorf("record.max is %d, want 0 to %d", c.Max, maxRecord)
	}
	return nil
}

func (a *Agent) recordDir() string { return filepath.Join(a.cfg.DataDir, "record") }

// note keeps what was found in a picture, for other applications on board.
func (m *miner) note(s *payload.Sample, isSample bool) error {
	return m.record.Note(record.Entry{
		ID: s.ID, Name: s.Name, Taken: s.Taken, Seen: m.clock.Now(), Sample: isSample, Model: s.Model, Found: s.Found,
	})
}

// receiveVerdicts takes verdicts, and requests for pictures, from the node until
// ctx ends.
func (a *Agent) receiveVerdicts(ctx context.Context) error {
	for {
		if err := a.words.Next(ctx, a.takeWord); err != nil {
			return fmt.Errorf("receive verdicts: %w", err)
		}
	}
}

// takeWord takes what the ground says about samples: verdicts, and requests for
// their pictures.
func (a *Agent) takeWord(from bundle.EID, data []byte) error {
	if from != a.cfg.Ground.Node() {
		return fmt.Errorf("%w: it is not from the ground, %v", mail.ErrUseless, a.cfg.Ground.Node())
	}
	message, err := payload.Decode(data)
	if err != nil {
		return fmt.Errorf("%w: %w", mail.ErrUseless, err)
	}
	switch m := message.(type) {
	case *payload.VerdictBatch:
		return a.takeVerdicts(m)
	case *payload.Request:
		return a.takeRequest(m)
	}
	return fmt.Errorf("%w: it is a %v", mail.ErrUseless, message.Kind())
}

// takeVerdicts corrects the record. Verdicts that come again change nothing, so a
// batch that a crash interrupted is taken anew.
func (a *Agent) takeVerdicts(b *payload.VerdictBatch) error {
	corrected, unknown := 0, 0
	for _, v := range b.Verdicts {
		done, err := a.miner.record.Correct(v.Sample, record.Verdict{
			Source: b.Source, Given: b.Time, Received: a.clock.Now(), Objects: v.Labels,
		})
		switch {
		case errors.Is(err, record.ErrUnknown):
			unknown++
			a.log.Debug("verdict of a picture without a record", "sample", v.Sample, "err", err)
		case err != nil:
			return err
		case done:
			corrected++
		}
	}
	a.log.Info("verdicts received", "by", b.Source, "verdicts", len(b.Verdicts), "corrected", corrected, "unknown", unknown)
	return nil
}
