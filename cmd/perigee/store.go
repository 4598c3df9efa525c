package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"perigee/bundle"
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
				row(w, "in custody", fmt.Sprintf("%d (%s of %s)", s.Custodial, bytesText(s.CustodyBytes), bytesText(s.CustodyQuota)))
				for p, n := range s.PriorityBytes {
					row(w, "  "+bundle.Priority(p).String(), bytesText(n))
				}
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
	var rebuild bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read everything in the store and check it",
		Long: `Verify reads every stored record and compares it with its checksum. It asks the
daemon; with --data-dir it works on the data folder of a daemon that is not
running, and changes nothing.

With --rebuild, which needs --data-dir, the index over the stored bundles is
thrown away and made again from the records that were read. Records that are
corrupt are left out of it, and their bundles are gone.

The exit code is 1 when something is corrupt.`,
		Example: `  perigee store verify
  perigee store verify --data-dir /var/lib/perigee
  perigee store verify --data-dir /var/lib/perigee --rebuild`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if rebuild && dataDir == "" {
				return usagef("store verify: --rebuild needs --data-dir: stop the daemon and name its node.data_dir")
			}
			if dataDir != "" {
				report, err := verifyOffline(cmd.Context(), dataDir)
				if err != nil {
					return err
				}
				out := verified{Report: report}
				if rebuild {
					stats, err := badgerstore.Rebuild(storeDir(dataDir), badgerstore.Options{})
					if err != nil {
						return fmt.Errorf("store verify: %w", err)
					}
					out.Rebuilt = &stats.Bundles
				}
				return e.printReport(out)
			}
			return e.withDaemon(func(client app.Client) error {
				report, err := client.Verify(cmd.Context())
				if err != nil {
					return fmt.Errorf("store verify: %w", err)
				}
				return e.printReport(verified{Report: report})
			})
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "data `folder` of a node that is not running (node.data_dir)")
	cmd.Flags().BoolVar(&rebuild, "rebuild", false, "make the index again")
	return cmd
}

// verified is the outcome of a verification.
type verified struct {
	store.Report
	Rebuilt *int64 `json:"rebuilt_bundles,omitempty"` // bundles in the new index, if one was made
}

func (e *env) printReport(r verified) error {
	r.Corrupt = orEmpty(r.Corrupt)
	err := e.print(r, func(w io.Writer) {
		row(w, "records", r.Records)
		row(w, "bytes", fmt.Sprintf("%d (%s)", r.Bytes, bytesText(r.Bytes)))
		row(w, "corrupt", len(r.Corrupt))
		for _, line := range r.Corrupt {
			row(w, "", line)
		}
		if r.Rebuilt != nil {
			row(w, "index", fmt.Sprintf("made again, %d bundles", *r.Rebuilt))
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

// storeDir is the folder of the store in a node's data folder.
func storeDir(dataDir string) string { return filepath.Join(dataDir, "store") }

// verifyOffline checks the store in the data folder of a node that is not running.
func verifyOffline(ctx context.Context, dataDir string) (store.Report, error) {
	report, err := badgerstore.Verify(ctx, storeDir(dataDir), badgerstore.Options{}, func(int64, int64) {})
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
