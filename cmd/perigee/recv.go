package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
)

type recvOptions struct {
	at      app.Registration // which has no name at an endpoint of this node
	count   int
	out     string
	timeout time.Duration
}

func newRecv(e *env) *cobra.Command {
	var opts recvOptions
	cmd := &cobra.Command{
		Use:   "recv --endpoint EID",
		Short: "Receive bundles for an endpoint of the node",
		Long: `Recv takes bundles for an endpoint of this node. Without --out, the payloads go to
standard output one after the other. With --out, each goes to a file of its own in
that folder, named after the bundle, that appears when it is whole; one line for
each is printed. A bundle is acknowledged when its payload is safe, and comes again
when recv ends before that.

At an endpoint of many nodes, such as dtn://fleet/~news, recv registers first, under
the name that --name gives, if that has not been done; perigee registration says more.

The exit code is 75 when the time is over before all bundles came.`,
		Example: `  perigee recv --endpoint ipn:1.42 >hello.txt
  perigee recv --endpoint ipn:1.11 --count 0 --out batches
  perigee recv --endpoint ipn:1.42 --timeout 30s -o json --out .
  perigee recv --endpoint dtn://fleet/~news --name ops --count 0 --out news`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withDaemon(func(client app.Client) error { return runRecv(cmd.Context(), e, client, opts) })
		},
	}
	f := cmd.Flags()
	registrationFlags(cmd, &opts.at)
	f.IntVar(&opts.count, "count", 1, "`number` of bundles to take; 0 goes on for ever")
	f.StringVar(&opts.out, "out", "", "`folder` to put payloads in, one file each")
	f.DurationVar(&opts.timeout, "timeout", 0, "how long to wait for all bundles; 0 waits for ever")
	return cmd
}

// received is what is shown about a bundle that went to a file.
type received struct {
	ID          bundle.ID    `json:"id"`
	Source      bundle.EID   `json:"source"`
	Destination bundle.EID   `json:"destination"`
	Received    dtntime.Time `json:"received"`
	Size        int64        `json:"payload_bytes"`
	File        string       `json:"file"`
}

func runRecv(ctx context.Context, e *env, client app.Client, opts recvOptions) error {
	switch {
	case opts.at.Endpoint.IsNull():
		return usagef("recv: an endpoint is missing; give --endpoint EID")
	case opts.at.Name != "" && opts.at.Endpoint.IsSingleton():
		return usagef("recv: --name is for endpoints of many nodes, such as dtn://fleet/~news")
	case opts.count < 0 || opts.timeout < 0:
		return usagef("recv: --count and --timeout must not be negative")
	case opts.out == "" && e.output == formatJSON:
		return usagef("recv: -o json needs --out FOLDER, because payloads go to standard output without it")
	}
	if opts.out != "" {
		if err := os.MkdirAll(opts.out, 0o755); err != nil {
			return fmt.Errorf("recv: making the folder for payloads: %w", err)
		}
	}
	wait := ctx
	if opts.timeout > 0 {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, opts.timeout)
		defer cancel()
	}
	for taken := 0; opts.count == 0 || taken < opts.count; taken++ {
		d, err := opts.receive(wait, client)
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("recv: %d bundles came for %s within %s: %w", taken, opts.at, opts.timeout, app.ErrTryAgain)
		}
		if err != nil {
			return fmt.Errorf("recv at %s: %w", opts.at, err)
		}
		if err := e.take(ctx, d, opts.out); err != nil {
			// Best effort: the node takes the bundle back anyway when we are gone.
			_ = d.Release(ctx)
			return fmt.Errorf("recv of %s: %w", d.ID, err)
		}
	}
	return nil
}

// receive waits for the next bundle.
func (o *recvOptions) receive(ctx context.Context, client app.Client) (*app.Delivery, error) {
	if o.at.Endpoint.IsSingleton() {
		return client.Receive(ctx, o.at.Endpoint)
	}
	return client.ReceiveAs(ctx, o.at)
}

// take makes the payload of a delivery safe and acknowledges it.
func (e *env) take(ctx context.Context, d *app.Delivery, folder string) error {
	defer d.Payload.Close() // only read from
	payload := &contextReader{ctx, d.Payload}
	if folder == "" {
		if _, err := io.Copy(e.out, payload); err != nil {
			return fmt.Errorf("writing the payload: %w", err)
		}
		return d.Ack(ctx)
	}
	file := filepath.Join(folder, fileName(d.ID))
	if err := save(file, payload); err != nil {
		return err
	}
	if err := d.Ack(ctx); err != nil {
		return fmt.Errorf("payload is in %s, but acknowledging it failed, so that it will come again: %w", file, err)
	}
	view := received{d.ID, d.Source, d.Destination, d.Received, d.Size, file}
	if e.output == formatJSON {
		return printed(json.NewEncoder(e.out).Encode(view))
	}
	_, err := fmt.Fprintf(e.out, "%s\t%d\t%s\n", view.ID, view.Size, view.File)
	return printed(err)
}

// save writes a file that is seen either whole or not at all, and is on the disk
// when save returns.
func save(name string, content io.Reader) (err error) {
	f, err := renameio.NewPendingFile(name, renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("creating %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Cleanup())
		}
	}()
	if _, err := io.Copy(f, content); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	folder, err := os.Open(filepath.Dir(name))
	if err != nil {
		return fmt.Errorf("making %s durable: %w", name, err)
	}
	if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
		return fmt.Errorf("making %s durable: %w", name, err)
	}
	return nil
}

// fileName returns a name for the payload of a bundle: the ID with whatever could
// disturb in a name replaced. IDs of the dtn scheme, which are free text, get a
// digest, so that no two have one name.
func fileName(id bundle.ID) string {
	const longest = 120
	text := id.String()
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '-':
			return r
		}
		return '_'
	}, text)
	if id.Source.Scheme() == bundle.SchemeIPN {
		return name
	}
	digest := sha256.Sum256([]byte(text))
	return name[:min(len(name), longest)] + "-" + hex.EncodeToString(digest[:8])
}
