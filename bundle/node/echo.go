package node

import (
	"context"
	"errors"

	"perigee/bundle/app"
)

// echo sends what comes to the echo service back to where it came from, until ctx
// ends.
func (n *Node) echo(ctx context.Context) {
	c := n.Client()
	defer c.Close() // it holds nothing but leases, which the node ends as well
	endpoint := n.cfg.Node.WithService(EchoService)
	for {
		d, err := c.Receive(ctx, endpoint)
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, app.ErrClosed) {
				n.log.Error("the echo service ended", "error", err)
			}
			return
		}
		if err := n.answer(ctx, c, d); err != nil && ctx.Err() == nil {
			n.log.Warn("could not send an echo", "bundle", d.ID, "error", err)
		}
	}
}

// answer sends one payload back. A bundle that cannot be answered is dropped: an
// echo is worth no second try.
func (n *Node) answer(ctx context.Context, c app.Client, d *app.Delivery) error {
	var sendErr error
	if !d.Source.IsNull() {
		_, sendErr = c.Send(ctx, app.Outgoing{
			To: d.Source, From: d.Destination, Payload: d.Payload, Length: d.Size, Lifetime: defaultLifetime,
		})
	}
	return errors.Join(sendErr, d.Payload.Close(), d.Ack(ctx))
}
