package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/ground/uplink"
	"perigee/models"
	"perigee/models/delta"
	"perigee/models/payload"
)

// serviceModels is the service of a satellite that takes changes of network.
const serviceModels = 12

// enough is the share of the squared difference from which a change counts as
// whole. It is a rule of thumb: what a change is worth is judged by the gate.
const enough = 0.9

type pushOptions struct {
	deltaOptions
	to       bundle.EID
	plan     string
	explain  bool
	loss     float64
	queued   int64
	part     int
	lifetime time.Duration
	priority bundle.Priority
}

func newModelPush(e *env) *cobra.Command {
	var o pushOptions
	cmd := &cobra.Command{
		Use:   "push --to EID BASE TARGET",
		Short: "Send a satellite the change from one network to another",
		Long: `Push packs the difference between two networks in several ways, foresees with the
contact plan of the daemon when each would be whole on board, takes the one that is
in use first, and hands its parts to the node, each a bundle under custody, the
coarse steps first. BASE must be what the satellite flies.

--explain shows every way, with the pass in which its network becomes active, and
sends nothing; with --plan it needs no daemon. Of ways that carry at least 90 % of
the squared difference the one is taken that is whole in the earliest pass, of these
the one whose first step is, and of these the smallest. --steps leaves no choice.`,
		Example: `  perigee model push --explain --to ipn:2.0 v1.pmodel v2.pmodel
  perigee model push --to ipn:2.0 --key mission.key.pem --version 2 --threshold 0.3 v1.pmodel v2.pmodel
  perigee model push --explain --plan plan.jsonl --loss 0.1 --to ipn:2.0 v1.pmodel v2.pmodel`,
		Args: exactArgs("BASE", "TARGET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.base, o.target = args[0], args[1]
			if o.plan != "" {
				if !o.explain {
					return usagef("--plan goes with --explain; push itself uses the plan of the daemon")
				}
				return runModelPush(cmd.Context(), e, nil, &o)
			}
			return e.withDaemon(func(client app.Client) error { return runModelPush(cmd.Context(), e, client, &o) })
		},
	}
	f := cmd.Flags()
	o.flags(f)
	eidVar(f, &o.to, "to", "`EID` of the satellite's node (required)")
	f.StringSliceVar(&o.steps, "steps", nil, "`encodings`, coarse to fine, in place of a choice")
	f.BoolVar(&o.explain, "explain", false, "show what would be sent and when it is in use, and send nothing")
	f.StringVar(&o.plan, "plan", "", "`file` of a contact plan, in place of the daemon's")
	f.Float64Var(&o.loss, "loss", 0, "`share` of what is sent that is lost and sent again, 0 to below 1")
	f.Int64Var(&o.queued, "queued", 0, "`bytes` that go first, in place of what the daemon says")
	f.IntVar(&o.part, "part-bytes", 16<<10, "most `bytes` of a part; short passes make it less")
	f.DurationVar(&o.lifetime, "lifetime", 7*24*time.Hour, "how long the parts are of use")
	f.TextVar(&o.priority, "priority", bundle.PriorityNormal, "`class` of service: bulk, normal or expedited")
	return cmd
}

func runModelPush(ctx context.Context, e *env, client app.Client, o *pushOptions) error {
	if o.to.IsNull() {
		return usagef("push: a satellite is missing; give --to EID")
	}
	if o.part < 256 || o.part > payload.MaxPart {
		return usagef("push: --part-bytes %d is not 256 to %d", o.part, payload.MaxPart)
	}
	key, err := o.signingKey()
	if err != nil {
		return err
	}
	base, target, err := o.read()
	if err != nil {
		return err
	}
	link, now, err := o.link(ctx, e, client)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	ways, chains, err := o.ways(base, target)
	if err != nil {
		return err
	}
	for i := range chains {
		for j, s := range chains[i] {
			s.Use = o.use
			file, err := s.Encode(key)
			if err != nil {
				return usagef("push: %w", err)
			}
			ways[i].Steps = append(ways[i].Steps, int64(len(file)))
			chains[i][j] = s
		}
	}
	plans, err := uplink.Choose(link, now, ways, enough, o.part)
	if err != nil {
		return usagef("push: %w", err)
	}
	if o.explain {
		return o.show(e, plans)
	}
	for i := range plans {
		if plans[i].Chosen {
			return o.send(ctx, e, client, &plans[i], chains[i], now)
		}
	}
	return errors.New("push: there is nothing to send")
}

// link gathers what is known of the way up: the passes in which anybody reaches the
// satellite, and what waits for it.
func (o *pushOptions) link(ctx context.Context, e *env, client app.Client) (uplink.Link, dtntime.Time, error) {
	l := uplink.Link{Loss: o.loss, Queued: o.queued}
	now := e.now()
	var plan *contact.Plan
	var err error
	if client == nil {
		plan, err = o.readPlan(e)
	} else {
		plan, err = client.Plan(ctx)
	}
	if err != nil {
		return l, now, err
	}
	if client != nil {
		s, err := client.Status(ctx)
		if err != nil {
			return l, now, err
		}
		now = s.Now
		for _, neighbour := range s.Links {
			if o.queued == 0 && neighbour.Peer.Node() == o.to.Node() {
				l.Queued += neighbour.QueuedBytes
			}
		}
	}
	for c := range plan.All() {
		if c.To.Node() == o.to.Node() && c.End > now {
			l.Windows = append(l.Windows, uplink.Window{Start: c.Start, End: c.End, Rate: uint64(c.Rate)})
		}
	}
	return l, now, nil
}

func (o *pushOptions) readPlan(e *env) (*contact.Plan, error) {
	in, err := e.openInput(o.plan)
	if err != nil {
		return nil, err
	}
	defer in.Close() // only read from
	plan, err := contact.Parse(in)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errMalformed, o.plan, err)
	}
	return plan, nil
}

// candidates are the chains that push looks at.
func (o *pushOptions) candidates() ([][]delta.Encoding, error) {
	if len(o.steps) > 0 {
		chain, err := delta.ParseSteps(o.steps)
		if err != nil {
			return nil, usagef("--steps: %w", err)
		}
		return [][]delta.Encoding{chain}, nil
	}
	var list [][]delta.Encoding
	for _, rank := range []int{1, 2, 4, 8} {
		list = append(list, []delta.Encoding{{Bits: 4, Rank: rank}}, delta.AdvisedSteps(rank))
	}
	list = append(list, delta.AdvisedSteps(0))
	for _, bits := range []int{2, 3, 4, 8} {
		list = append(list, []delta.Encoding{delta.Int(bits)})
	}
	return list, nil
}

// ways packs the change in every way, but for the sizes of the files.
func (o *pushOptions) ways(base, target *models.Network) ([]uplink.Way, [][]delta.Step, error) {
	candidates, err := o.candidates()
	if err != nil {
		return nil, nil, err
	}
	var ways []uplink.Way
	var chains [][]delta.Step
	for _, encodings := range candidates {
		chain, err := delta.BuildSteps(base, target, encodings)
		if err != nil {
			return nil, nil, fmt.Errorf("push from %s to %s: %w", o.base, o.target, malformedModel(err))
		}
		name := ""
		for i, enc := range encodings {
			if i > 0 {
				name += ","
			}
			name += enc.String()
		}
		ways = append(ways, uplink.Way{Name: name, Quality: delta.Carried(base, target, chain[len(chain)-1].Network)})
		chains = append(chains, chain)
	}
	return ways, chains, nil
}

// foreseen is a way as it is shown.
type foreseen struct {
	Steps     string        `json:"steps"`
	Bytes     int64         `json:"bytes"`
	Carried   float64       `json:"carried"`
	PartBytes int           `json:"part_bytes"`
	First     *foreseenStep `json:"first"` // step; null when it does not arrive within the plan
	Last      *foreseenStep `json:"last"`
	Chosen    bool          `json:"chosen"`
}

type foreseenStep struct {
	Pass   int          `json:"pass"` // from the present or next one, which is 1
	Active dtntime.Time `json:"active"`
}

func foreseeStep(a uplink.Arrival) *foreseenStep {
	if a.Pass == 0 {
		return nil
	}
	return &foreseenStep{a.Pass, a.Active}
}

func (s *foreseenStep) String() string {
	if s == nil {
		return "not within the plan"
	}
	return fmt.Sprintf("pass %d, %v", s.Pass, s.Active)
}

func (o *pushOptions) show(e *env, plans []uplink.Plan) error {
	view := make([]foreseen, len(plans))
	for i := range plans {
		p := &plans[i]
		view[i] = foreseen{p.Name, p.Bytes(), p.Quality, p.PartBytes, foreseeStep(p.First()), foreseeStep(p.Last()), p.Chosen}
	}
	return e.print(view, func(w io.Writer) {
		row(w, "", "STEPS", "BYTES", "CARRIED", "PARTS OF", "FIRST STEP ACTIVE", "LAST STEP ACTIVE")
		for _, v := range view {
			mark := ""
			if v.Chosen {
				mark = "*"
			}
			row(w, mark, v.Steps, v.Bytes, percent(v.Carried), v.PartBytes, v.First, v.Last)
		}
	})
}

// pushed is what is shown about a change that was handed to the node.
type pushed struct {
	Update  uint64        `json:"update"`
	Steps   string        `json:"steps"`
	Bytes   int64         `json:"bytes"`
	Result  models.Hash   `json:"result"`
	Last    *foreseenStep `json:"last"`
	Bundles []bundle.ID   `json:"bundles"`
}

// send hands the parts of a chain to the node. The number of the update is the time,
// as that of the ground application is.
func (o *pushOptions) send(ctx context.Context, e *env, client app.Client, plan *uplink.Plan, chain []delta.Step, now dtntime.Time) error {
	key, err := o.signingKey()
	if err != nil {
		return err
	}
	last := chain[len(chain)-1]
	if err := o.expect(ctx, chain); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	view := pushed{Update: uint64(now), Steps: plan.Name, Bytes: plan.Bytes(), Result: last.Result, Last: foreseeStep(plan.Last())}
	for i, s := range chain {
		file, err := s.Encode(key)
		if err != nil {
			return fmt.Errorf("push: %w", err)
		}
		parts, err := payload.Split(payload.ModelPart{
			Update: view.Update, Version: o.use.Version, Type: payload.UpdateDelta, Step: uint32(i), Steps: uint32(len(chain)),
			Encoding: s.Encoding.String(), Base: s.Base, Result: s.Result, Backbone: s.Backbone,
			Golden: payload.Golden{MinF1: o.use.MinF1, Threshold: o.use.Threshold, MatchIoU: o.use.MatchIoU},
		}, file, plan.PartBytes)
		if err != nil {
			return fmt.Errorf("push: %w", err)
		}
		for j := range parts {
			id, err := o.sendPart(ctx, client, &parts[j])
			if err != nil {
				return fmt.Errorf("push: step %d, part %d of %d: %w; %d bundles were handed over before", i, j, len(parts), err, len(view.Bundles))
			}
			view.Bundles = append(view.Bundles, id)
		}
	}
	return e.print(view, func(w io.Writer) {
		row(w, "update", view.Update)
		row(w, "steps", view.Steps)
		row(w, "size", fmt.Sprintf("%d bytes in %d bundles", view.Bytes, len(view.Bundles)))
		row(w, "result", view.Result)
		row(w, "active", view.Last)
	})
}

func (o *pushOptions) sendPart(ctx context.Context, client app.Client, p *payload.ModelPart) (bundle.ID, error) {
	message, err := p.Encode()
	if err != nil {
		return bundle.ID{}, err
	}
	return client.Send(ctx, app.Outgoing{
		To: o.to.WithService(serviceModels), Custody: true, Lifetime: dtntime.Of(o.lifetime), Priority: o.priority,
		Payload: bytes.NewReader(message), Length: int64(len(message)),
	})
}
