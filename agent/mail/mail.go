// Package mail is how the applications deal with their node when it is away,
// busy or forgetful: they wait for it, and acknowledge a delivery only once it
// is kept.
//
// It refuses to know what the deliveries hold.
package mail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"perigee/agent/durable"
	"perigee/bundle"
	"perigee/bundle/app"
)

// ErrUseless is wrapped by errors about a delivery that will never be of use.
var ErrUseless = errors.New("delivery is of no use")

// IsPassing tells whether an error of a client may go away by itself.
func IsPassing(err error) bool {
	return errors.Is(err, app.ErrTryAgain) || errors.Is(err, app.ErrUnreachable)
}

// FindNode asks the node for its ID, and waits for it if need be.
func FindNode(ctx context.Context, client app.Client, wait Backoff, log *slog.Logger) (bundle.EID, error) {
	for {
		status, err := client.Status(ctx)
		if err == nil {
			return status.Node, nil
		}
		if !IsPassing(err) || ctx.Err() != nil {
			return bundle.EID{}, errors.Join(ctx.Err(), fmt.Errorf("ask the node for its ID: %w", err))
		}
		log.Info("node does not answer; trying again", "err", err)
		if err := wait.Wait(ctx); err != nil {
			return bundle.EID{}, err
		}
	}
}

// Inbox takes deliveries for one endpoint. It belongs to one goroutine.
type Inbox struct {
	Client   app.Client
	Endpoint bundle.EID
	Limit    int64 // of a payload, in bytes; larger ones are dropped
	Wait     Backoff
	Log      *slog.Logger
}

// Next waits for a delivery and hands its payload to keep, with the node that it
// is from. It is acknowledged once keep has made it durable, or found it useless:
// then keep's error wraps ErrUseless. Any other error of keep is returned and
// leaves the delivery to come again; so are errors of the client that do not
// pass, and that of ctx.
func (in *Inbox) Next(ctx context.Context, keep func(from bundle.EID, data []byte) error) error {
	for {
		d, err := in.Client.Receive(ctx, in.Endpoint)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			return in.take(ctx, d, keep)
		case !IsPassing(err):
			return fmt.Errorf("receive for %v: %w", in.Endpoint, err)
		}
		in.Log.Info("node delivers nothing now; trying again", "endpoint", in.Endpoint, "err", err)
		if err := in.Wait.Wait(ctx); err != nil {
			return err
		}
	}
}

func (in *Inbox) take(ctx context.Context, d *app.Delivery, keep func(from bundle.EID, data []byte) error) error {
	data, err := durable.ReadAll(d.Payload, in.Limit)
	err = errors.Join(err, d.Payload.Close())
	switch {
	case err == nil:
		err = keep(d.Source.Node(), data)
	case errors.Is(err, durable.ErrTooLarge):
		err = fmt.Errorf("%w: %w", ErrUseless, err)
	default:
		in.Log.Warn("delivery is not readable now", "bundle", d.ID, "source", d.Source, "err", err)
		return cmp.Or(in.settle(ctx, d, d.Release), in.Wait.Wait(ctx))
	}
	in.Wait.Reset()
	if errors.Is(err, ErrUseless) {
		in.Log.Warn("delivery dropped", "bundle", d.ID, "source", d.Source, "err", err)
	} else if err != nil {
		return fmt.Errorf("keep delivery %v: %w", d.ID, err)
	}
	return in.settle(ctx, d, d.Ack)
}

// settle ends a delivery. When the node does not hear of it, it delivers again,
// which does no harm.
func (in *Inbox) settle(ctx context.Context, d *app.Delivery, how func(context.Context) error) error {
	err := how(ctx)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, app.ErrClosed):
		return fmt.Errorf("settle delivery %v: %w", d.ID, err)
	default:
		in.Log.Warn("delivery could not be settled; it will come again", "bundle", d.ID, "err", err)
	}
	return nil
}
