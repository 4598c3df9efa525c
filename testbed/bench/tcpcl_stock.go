package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dtn7/dtn7-go/pkg/bpv7"
	"github.com/dtn7/dtn7-go/pkg/cla"
	"github.com/dtn7/dtn7-go/pkg/cla/tcpclv4"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
)

// stockSenders is how many goroutines send over dtn7-go's session at once. Each waits
// for its acknowledgement; with fewer of them it is slower, and with more as well.
const stockSenders = 64

// stockTCPCL measures dtn7-go's own TCPCLv4, client to listener on loopback, in
// bundles a second. It runs in a process of its own, since a panic of its session
// would take ours along.
func (b *bench) stockTCPCL(ctx context.Context) (float64, error) {
	program, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("finding this program: %w", err)
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return 0, err
	}
	var messages bytes.Buffer
	cmd := exec.CommandContext(ctx, program, stockCommand, address)
	cmd.Stderr = &messages
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("dtn7-go's TCPCLv4 broke: %w: %s", err, firstLine(messages.String()))
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// stockCommand is the hidden command that runs dtn7-go's sessions.
const stockCommand = "dtn7-tcpclv4"

func newStockCommand() *cobra.Command {
	return &cobra.Command{
		Use: stockCommand + " ADDRESS", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Measure dtn7-go's own TCPCLv4 for the measure that is held against it",
		RunE: func(cmd *cobra.Command, args []string) error {
			rate, err := stockRate(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), rate)
			return err
		},
	}
}

// stockRate sends bundles of one segment, the only ones that its sessions carry
// whole, and counts those that come out.
func stockRate(address string) (float64, error) {
	logrus.SetOutput(io.Discard)
	logrus.SetLevel(logrus.PanicLevel)
	manager := cla.NewManager()
	manager.Register(tcpclv4.ListenTCP(address, bpv7.MustNewEndpointID("dtn://b/")))
	var came atomic.Int64
	go func() { // ends with the process, as dtn7-go's own goroutines do
		for status := range manager.Channel() {
			if status.MessageType == cla.ReceivedBundle {
				came.Add(1)
			}
		}
	}()
	client := tcpclv4.DialTCP(address, bpv7.MustNewEndpointID("dtn://a/"), false)
	if err := startStockClient(client); err != nil {
		return 0, err
	}
	go func() {
		for range client.Channel() { // nobody wants to know
		}
	}()
	payload := bytes.Repeat([]byte("0123456789"), 100)
	before, begin := came.Load(), time.Now()
	var senders sync.WaitGroup
	var failed atomic.Pointer[error]
	for range stockSenders {
		senders.Go(func() {
			for time.Since(begin) < stockSessionTime && failed.Load() == nil {
				if err := sendStock(client, payload); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	senders.Wait()
	took := time.Since(begin)
	if err := failed.Load(); err != nil {
		return 0, fmt.Errorf("sending over dtn7-go's TCPCLv4: %w", *err)
	}
	return float64(came.Load()-before) / took.Seconds(), nil
}

// startStockClient tries until the listener is there.
func startStockClient(client *tcpclv4.Client) error {
	var err error
	for range 50 {
		if err, _ = client.Start(); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("opening dtn7-go's TCPCLv4: %w", err)
}

// sendStock sends a bundle of five blocks like ours.
func sendStock(client *tcpclv4.Client, payload []byte) error {
	b, err := bpv7.Builder().CRC(bpv7.CRC32).
		Source("dtn://a/app").Destination("dtn://b/app").CreationTimestampNow().Lifetime("24h").
		PreviousNodeBlock("dtn://a/").BundleAgeBlock(1234).HopCountBlock(30).PayloadBlock(payload).Build()
	if err != nil {
		return err
	}
	return client.Send(b)
}
