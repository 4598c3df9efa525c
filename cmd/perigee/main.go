// Command perigee is the command line of a Perigee node: it sends and receives
// bundles, shows what the node does, and works on bundles in files.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"perigee/bundle/dtntime"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first interrupt asks; the second one kills a command that is stuck in a
	// read which nothing can end.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], &env{
		in:     os.Stdin,
		out:    os.Stdout,
		err:    os.Stderr,
		getenv: os.Getenv,
		now:    func() dtntime.Time { return dtntime.FromTime(time.Now()) },
	})
	stop()
	os.Exit(code)
}
