package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"perigee/bundle/app"
	"perigee/bundle/store"
	"perigee/bundle/store/badgerstore"
)

func newStoreStats(e *env) *cobra.Command {
	return daemonCommand(e, "stats", "Show what the store holds", "",
		"  perigee store stats\n  perigee store stats -o json",
		func(ctx context.Context, e *env, client app.Client) error {
			status, err := client.Status(ctx)
			if err != nil {
				return fmt.Errorf("store stats: %w", err)
			}
			s := status.Store
			return e.print(s, func(w io.Writer) {
				row(w, "bundles", fmt.Sprintf("%d (%s)", s.Bundles, bytesText(s.Bytes)))
				row(w, "quota", bytesText(s.Quota))
				row(w, "in custody", s.Custodial)
				row(w, "remembered", s.Gone)
				row(w, "segments", fmt.Sprintf("%d (%s on disk)", s.Segments, bytesText(s.DiskBytes)))
				row(w, "synced groups", s.Commits)
				row(w, "quarantined", s.Quarantined)
				row(w, "failed", orDash(s.FailedReason))
			})
		})
}

func newStoreVerify(e *env) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read everything in the store and check it",
		Long: `Verify reads every stored record and compares it with its checksum. It asks the
daemon; with --data-dir it works on the data folder of a daemon that is not
running, and changes nothing.

The exit code is 1 when something is corrupt.`,
		Example: `  perigee store verify
  perigee store verify --data-dir /var/lib/perigee`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dataDir != "" {
				report, err := verifyOffline(cmd.Context(), dataDir)
				if err != nil {
					return err
				}
				return e.printReport(report)
			}
			return e.withDaemon(func(client app.Client) error {
				report, err := client.Verify(cmd.Context())
				if err != nil {
					return fmt.Errorf("store verify: %w", err)
				}
				return e.printReport(report)
			})
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "data `folder` of a node that is not running (node.data_dir)")
	return cmd
}

func (e *env) printReport(r store.Report) error {
	r.Corrupt = orEmpty(r.Corrupt)
	err := e.print(r, func(w io.Writer) {
		row(w, "records", r.Records)
		row(w, "bytes", fmt.Sprintf("%d (%s)", r.Bytes, bytesText(r.Bytes)))
		row(w, "corrupt", len(r.Corrupt))
		for _, line := range r.Corrupt {
			row(w, "", line)
		}
	})
	if err != nil {
		return err
	}
	if len(r.Corrupt) > 0 {
		return fmt.Errorf("store verify: %d records are corrupt: %w", len(r.Corrupt), store.ErrCorrupt)
	}
	return nil
}

// verifyOffline checks the store in the data folder of a node that is not running.
func verifyOffline(ctx context.Context, dataDir string) (store.Report, error) {
	dir := filepath.Join(dataDir, "store")
	report, err := badgerstore.Verify(ctx, dir, badgerstore.Options{}, func(int64, int64) {})
	switch {
	case errors.Is(err, badgerstore.ErrLocked):
		err = fmt.Errorf("store verify: %w; stop the daemon, or leave --data-dir out to ask it", err)
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("store verify: %w; is --data-dir the node.data_dir of the daemon?", err)
	case err != nil:
		err = fmt.Errorf("store verify: %w", err)
	}
	return report, err
}
