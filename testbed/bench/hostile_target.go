package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"perigee/convergence"
	"perigee/convergence/tcpcl"
)

const (
	// targetCommand is the hidden command that runs the listener that is attacked.
	targetCommand = "hostile-target"
	// targetReady is the file that it makes when it listens.
	targetReady = "ready"
	// targetMemory is what a relay's daemon tries to stay below by default.
	targetMemory = 160 << 20
	// baitLength is the bundle that every peer is sent, in bytes.
	baitLength = 20_000
)

func newTargetCommand() *cobra.Command {
	return &cobra.Command{
		Use: targetCommand + " ADDRESS [PROFILE]", Hidden: true, Args: cobra.RangeArgs(1, 2),
		Short: "Run the listener that the measure of hostile connections attacks",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM)
			defer stop()
			if len(args) > 1 {
				f, err := os.Create(args[1])
				if err != nil {
					return err
				}
				defer f.Close()
				if err := pprof.StartCPUProfile(f); err != nil {
					return err
				}
				defer pprof.StopCPUProfile()
			}
			return runTarget(ctx, args[0])
		},
	}
}

// runTarget takes sessions at address as perigeed does by default. It accepts every
// bundle once it has read it, and has a bundle for everybody.
func runTarget(ctx context.Context, address string) error {
	debug.SetMemoryLimit(targetMemory)
	l, err := tcpcl.Listen(ctx, address, tcpcl.Config{NodeID: targetNode().String()})
	if err != nil {
		return err
	}
	if err := os.WriteFile(targetReady, nil, 0o600); err != nil {
		return fmt.Errorf("saying that the listener is ready: %w", err)
	}
	var sessions sync.WaitGroup
	for {
		s, err := l.Accept(ctx)
		if err != nil {
			break // ctx has ended
		}
		sessions.Go(func() { serveTarget(ctx, s) })
	}
	err = l.Close()
	sessions.Wait()
	return err
}

// serveTarget holds one session until its peer or ctx ends it.
func serveTarget(ctx context.Context, s convergence.Session) {
	var bait sync.WaitGroup
	bait.Go(func() {
		t, err := s.Send(ctx, baitLength, strings.NewReader(strings.Repeat("x", baitLength)))
		if err == nil {
			_ = t.Wait(ctx) // whether the peer took it is its own business
		}
	})
	buf := make([]byte, 4<<10)
	for {
		in, err := s.Receive(ctx)
		if err != nil {
			break
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, in, buf); err != nil {
			continue // it was cut, and cannot be accepted
		}
		if in.Accept() != nil {
			break
		}
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), linkPatience)
	defer cancel()
	_ = s.Close(closing) // the peer may have gone
	bait.Wait()
}
