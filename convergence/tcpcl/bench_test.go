package tcpcl

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"perigee/convergence"
)

// loopback opens a session over TCP on this machine.
func loopback(tb testing.TB, cfg Config) (a, b convergence.Session) {
	tb.Helper()
	ctx := context.Background()
	cfgA, cfgB := cfg, cfg
	cfgA.NodeID, cfgB.NodeID = "ipn:1.0", "ipn:2.0"
	l, err := Listen(ctx, "127.0.0.1:0", cfgB)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	if a, err = NewDialer(cfgA).Dial(ctx, l.Addr()); err != nil {
		tb.Fatal(err)
	}
	if b, err = l.Accept(ctx); err != nil {
		tb.Fatal(err)
	}
	return a, b
}

func BenchmarkLoopback(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) { benchmarkLoopback(b, size) })
	}
}

func benchmarkLoopback(b *testing.B, size int) {
	ctx := context.Background()
	from, to := loopback(b, Config{})
	received := make(chan error, 1)
	go func() {
		buf := make([]byte, 64<<10)
		for range b.N {
			in, err := to.Receive(ctx)
			for err == nil {
				_, err = in.Read(buf)
			}
			if err == io.EOF {
				err = in.Accept()
			}
			if err != nil {
				received <- err
				return
			}
		}
		received <- nil
	}()
	body := bytes.Repeat([]byte{7}, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	var last convergence.Transfer
	var r bytes.Reader
	for range b.N {
		r.Reset(body)
		t, err := from.Send(ctx, int64(size), &r)
		if err != nil {
			b.Fatal(err)
		}
		last = t
	}
	if err := last.Wait(ctx); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if err := <-received; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "bundles/s")
	if err := from.Close(ctx); err != nil {
		b.Error(err)
	}
	if err := to.Close(ctx); err != nil {
		b.Error(err)
	}
}
