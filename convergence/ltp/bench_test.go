package ltp

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"perigee/convergence"
)

func BenchmarkLoopback(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) { benchmarkLoopback(b, size) })
	}
}

func benchmarkLoopback(b *testing.B, size int) {
	ctx := b.Context()
	ea, eb := engines(b, bind(b), bind(b), Config{}, Config{})
	from, to := connect(b, ea, eb)
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
	var transfers []convergence.Transfer
	var r bytes.Reader
	for range b.N {
		r.Reset(body)
		t, err := from.Send(ctx, int64(size), &r)
		if err != nil {
			b.Fatal(err)
		}
		transfers = append(transfers, t)
	}
	for _, t := range transfers { // with a loss, the last is not the last to be delivered
		if err := t.Wait(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if err := <-received; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)*float64(size)*8/b.Elapsed().Seconds()/1e9, "Gbit/s")
}
