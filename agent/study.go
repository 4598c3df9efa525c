package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"perigee/agent/durable"
	"perigee/agent/mail"
	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/delta"
	"perigee/models/labels"
	"perigee/models/lesson"
	"perigee/models/payload"
	"perigee/models/train"
)

// receiveLessons takes parts of lessons from the node until ctx ends.
func (a *Agent) receiveLessons(ctx context.Context) error {
	in := mail.Inbox{
		Client: a.client, Endpoint: a.node.WithService(ServiceLessons), Limit: maxLessonFile, Wait: a.lessons.wait, Log: a.log,
	}
	for {
		if err := in.Next(ctx, a.takeLesson); err != nil {
			return fmt.Errorf("receive lessons: %w", err)
		}
	}
}

// takeLesson keeps a part of a lesson, or refuses the lesson.
func (a *Agent) takeLesson(from bundle.EID, data []byte) error {
	if from != a.cfg.Ground.Node() {
		return fmt.Errorf("%w: it is not from the ground, %v", mail.ErrUseless, a.cfg.Ground.Node())
	}
	part, err := payload.DecodeLesson(data)
	if err != nil {
		return fmt.Errorf("%w: %w", mail.ErrUseless, err)
	}
	if r := a.lessons.over(part.Update); r != nil {
		if part.Part > 0 || r.Status == 0 {
			return nil
		}
		return a.post(*r) // the ground has no receipt yet
	}
	if err := a.vouched(part); err != nil {
		// It may not be the ground's: the true one is not refused by it.
		a.log.Warn("lesson not taken", "update", part.Update, "err", err)
		return a.post(a.lessonReceipt(part, err.Error()))
	}
	if a.cfg.Training.KeepBytes == 0 {
		return a.refuseLesson(part, "training.keep_bytes is 0: no samples are held")
	}
	err = a.lessons.add(part, data)
	if errors.Is(err, errLesson) {
		return a.refuseLesson(part, err.Error())
	}
	if err == nil {
		a.log.Info("part of a lesson received", "update", part.Update, "version", part.Version, "part", part.Part, "of", part.Parts)
	}
	return err
}

// vouched checks who signed a part.
func (a *Agent) vouched(part *payload.Lesson) error {
	signed := len(part.Signature) > 0
	switch {
	case part.SignedBy(a.keys):
	case signed && (len(a.keys) > 0 || !a.cfg.Updates.AllowUnsigned):
		return errors.New("lesson is not signed by a trusted key")
	case !signed && !a.cfg.Updates.AllowUnsigned:
		return fmt.Errorf("lesson is not signed, and %w", errUnsigned)
	}
	return nil
}

// lessonReceipt says that a lesson was refused.
func (a *Agent) lessonReceipt(l *payload.Lesson, reason string) payload.Receipt {
	_, active := a.runner.flying()
	return payload.Receipt{
		Update: l.Update, Version: l.Version, Status: payload.StatusRefused, Reason: shorten(reason, payload.MaxReason),
		Active: active.Hash, ActiveVersion: active.Version, Time: a.clock.Now(),
	}
}

func (a *Agent) refuseLesson(l *payload.Lesson, reason string) error {
	a.log.Warn("lesson refused", "update", l.Update, "version", l.Version, "reason", reason)
	r := a.lessonReceipt(l, reason)
	if err := a.post(r); err != nil {
		return err
	}
	return a.lessons.end(r)
}

// study learns one lesson after the other until ctx ends.
func (a *Agent) study(ctx context.Context) error {
	for {
		p := a.lessons.next()
		if p == nil {
			select {
			case <-a.lessons.wake:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := a.learn(ctx, p); err != nil {
			return err
		}
	}
}

// learn trains on a lesson and hands what comes of it to the updates, as if it had
// come from the ground. The order makes it safe to be killed anywhere: the result is
// durable first, then its report, then the update, then that the lesson has ended.
func (a *Agent) learn(ctx context.Context, p *pupil) error {
	result, err := a.result(ctx, p)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		if err := a.refuseLesson(&p.meta, err.Error()); err != nil {
			return err
		}
		return a.dropSamples(p)
	}
	if err := a.reportLearned(result); err != nil {
		return err
	}
	parts, err := a.packLearned(p, result)
	if err != nil {
		return err
	}
	for _, part := range parts {
		data, err := part.Encode()
		if err == nil {
			err = a.offer(ctx, a.node, data)
		}
		if err != nil {
			return fmt.Errorf("install what lesson %d taught: %w", p.meta.Update, err)
		}
	}
	if err := a.settle(ctx); err != nil {
		return err
	}
	if err := a.dropSamples(p); err != nil {
		return err
	}
	return a.lessons.end(payload.Receipt{Update: p.meta.Update, Version: p.meta.Version})
}

// result returns what came of a lesson, from the disk when it was learnt before. An
// error is the reason to refuse it.
func (a *Agent) result(ctx context.Context, p *pupil) (*payload.Learned, error) {
	if data, err := durable.Read(p.path(lessonLearned), maxLessonFile); err == nil {
		return payload.DecodeLearned(data)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	net, active := a.runner.flying()
	switch {
	case p.meta.Base != net.Hash():
		return nil, fmt.Errorf("%w: it starts from %v, active is %v", delta.ErrWrongBase, p.meta.Base, net.Hash())
	case p.meta.Version <= active.Version:
		return nil, fmt.Errorf("version %d is not above the active version %d", p.meta.Version, active.Version)
	}
	engine, err := a.newEngine(net, a.cfg.Training.Threads)
	if err != nil {
		return nil, err
	}
	result, err := a.train(ctx, p, net, engine)
	if err = errors.Join(err, engine.Close()); err != nil {
		return nil, err
	}
	data, err := result.Encode()
	if err != nil {
		return nil, err
	}
	if err := a.lessons.vouch(result.Delta); err != nil {
		return nil, err
	}
	return result, a.disk.Write(p.path(lessonLearned), data)
}

// train learns a lesson within the budgets.
func (a *Agent) train(ctx context.Context, p *pupil, net *models.Network, engine models.Engine) (*payload.Learned, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	m, err := a.newMeter(p, stop)
	if err != nil {
		return nil, err
	}
	course := p.meta.Course
	samples, missing, err := a.gather(ctx, p, engine)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	a.log.Info("lesson begins", "update", p.meta.Update, "samples", len(samples), "missing", missing, "spent", m.spent())
	out, err := lesson.Learn(ctx, net, samples, course, lesson.Means{
		Engine: engine, Threads: a.cfg.Training.Threads, Checkpoint: m, Progress: m.progress,
		Now: func() time.Time { return a.clock.Now().Time() },
	})
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	file, err := out.Delta.Encode(nil)
	if err != nil {
		return nil, err
	}
	a.log.Info("lesson learnt", "update", p.meta.Update, "f1_old", out.Old.F1, "f1_new", out.New.F1,
		"gain", out.Decision.Value, "gain_low", out.Decision.Low, "gain_high", out.Decision.High, "model", out.Network.Hash(), "spent", m.spent())
	return &payload.Learned{
		Update: p.meta.Update, Version: p.meta.Version, Base: net.Hash(), Result: out.Network.Hash(),
		Trained: uint64(out.Trained), Judged: uint64(out.Judged), Missing: uint64(missing),
		OldF1: out.Old.F1, NewF1: out.New.F1, Threshold: out.New.Threshold,
		Spent: uint64(m.spent()), Time: a.clock.Now(), Delta: file,
	}, nil
}

// causeOf returns why ctx was ended in place of that it was.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	return err
}

// gather returns the samples of a lesson that are held, with their features, and how
// many of it are not. More than the budgets allow are left out.
func (a *Agent) gather(ctx context.Context, p *pupil, engine models.Engine) (samples []lesson.Sample, missing int, err error) {
	most := a.cfg.Training.Samples
	net := engine.Network()
	fixed, each := train.Footprint(net, train.Options{Rank: int(p.meta.Course.Rank)})
	if room := (a.cfg.Training.Memory - fixed) / each; room < int64(most) {
		if room < 2 {
			return nil, 0, fmt.Errorf("training needs %d bytes and %d for each sample, training.memory is %d", fixed, each, a.cfg.Training.Memory)
		}
		most = int(room)
	}
	cache := train.FeatureCache{Dir: p.path(lessonFeatures)}
	for _, l := range p.pictures() {
		id, ok := a.miner.held.find(l.Key)
		if !ok || len(samples) == most {
			missing++
			continue
		}
		features, err := cache.Features(ctx, engine, id.String(), func() (models.Tensor, error) {
			data, err := a.miner.held.picture(id)
			if err != nil {
				return models.Tensor{}, err
			}
			return models.FromJPEG(data, net.Input().W, net.Input().H)
		})
		if ctx.Err() != nil {
			return nil, 0, ctx.Err()
		}
		if err != nil {
			a.log.Warn("sample leaves the lesson", "update", p.meta.Update, "sample", id, "err", err)
			missing++
			continue
		}
		samples = append(samples, lesson.Sample{ID: id, Sample: train.Sample{Features: features, Truth: l.Truth}})
	}
	return samples, missing, nil
}

// pictures returns the labels of all parts in order.
func (p *pupil) pictures() []labels.Labelled {
	var all []labels.Labelled
	for number := range p.meta.Parts {
		all = append(all, p.have[number]...)
	}
	return all
}

// dropSamples lets go of the samples whose labels have come.
func (a *Agent) dropSamples(p *pupil) error {
	var ids []models.Hash
	for _, l := range p.pictures() {
		if id, ok := a.miner.held.find(l.Key); ok {
			ids = append(ids, id)
		}
	}
	return a.miner.held.drop(ids)
}

// reportLearned puts the report on its way, ahead of any receipt.
func (a *Agent) reportLearned(l *payload.Learned) error {
	data, err := l.Encode()
	if err != nil {
		return fmt.Errorf("prepare the report of lesson %d: %w", l.Update, err)
	}
	letter, err := a.receipts.write(fmt.Sprintf("%016x-0-00", l.Update), 0, data)
	if err != nil {
		return err
	}
	a.receipts.add(letter)
	return nil
}

// packLearned makes an update of what was learnt.
func (a *Agent) packLearned(p *pupil, l *payload.Learned) ([]payload.ModelPart, error) {
	d, err := delta.Decode(l.Delta)
	if err != nil {
		return nil, err
	}
	return payload.Split(payload.ModelPart{
		Update: l.Update, Version: l.Version, Type: payload.UpdateDelta, Encoding: d.Encoding.String(),
		Base: l.Base, Result: l.Result, Backbone: d.Backbone,
		Golden: payload.Golden{MinF1: p.meta.Course.MinF1, Threshold: l.Threshold, MatchIoU: models.MatchIoU},
	}, l.Delta, payload.MaxPart)
}

// meter counts what a lesson takes, over restarts, and ends it when a budget is
// spent or will not do. It is the checkpoint of the training besides, so that what
// is counted and what is done stay together.
type meter struct {
	a      *Agent
	p      *pupil
	stop   context.CancelCauseFunc
	before dtntime.Duration // spent by earlier runs
	start  dtntime.Time
	limit  dtntime.Duration
	budget string
}

func (a *Agent) newMeter(p *pupil, stop context.CancelCauseFunc) (*meter, error) {
	m := &meter{a: a, p: p, stop: stop, start: a.clock.Now()}
	m.limit, m.budget = a.cfg.Training.limit(&a.cfg.Craft)
	if _, err := durable.ReadJSON(p.path(lessonSpent), maxStateFile, &m.before); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *meter) spent() dtntime.Duration { return m.before.Add(m.a.clock.Now().Sub(m.start)) }

// progress looks at the budget after every step. A training that will not end
// within it ends at once: what it would take is known from the second epoch on.
func (m *meter) progress(p train.Progress) {
	spent := m.spent()
	switch {
	case spent > m.limit:
		m.stop(fmt.Errorf("%s is spent in epoch %d of %d", m.budget, p.Epoch, p.Epochs))
	case p.Epoch > 1 && spent.Add(dtntime.Of(p.Left)) > m.limit.Add(m.limit/8):
		m.stop(fmt.Errorf("%s will not do: %v of training are left after %v", m.budget, p.Left.Round(time.Second), spent))
	}
}

// Load implements train.Checkpoint.
func (m *meter) Load() ([]byte, error) {
	data, err := durable.Read(m.p.path(lessonCheckpoint), m.a.cfg.Training.Memory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// Save implements train.Checkpoint.
func (m *meter) Save(data []byte) error {
	if err := m.a.disk.Write(m.p.path(lessonCheckpoint), data); err != nil {
		return err
	}
	return m.a.disk.WriteJSON(m.p.path(lessonSpent), m.spent())
}
