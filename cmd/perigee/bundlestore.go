package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/store"
)

// listPage is how many bundles are asked for at once.
const listPage = 1000

// storedBundleCommands lists the commands under "perigee bundle" that work on
// bundles in the daemon's store.
func storedBundleCommands(e *env) []*cobra.Command {
	return []*cobra.Command{newBundleLs(e), newBundleShow(e), newBundleRm(e), newBundleExport(e)}
}

func newBundleLs(e *env) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List the bundles that the node keeps",
		Long:    "Ls lists stored bundles in the order in which the node took them.",
		Example: "  perigee bundle ls\n  perigee bundle ls --limit 0 -o json",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("bundle ls: --limit must not be negative")
			}
			return e.withDaemon(func(client app.Client) error { return runBundleLs(cmd.Context(), e, client, limit) })
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 1000, "`number` of bundles to list at most; 0 lists all")
	return cmd
}

func runBundleLs(ctx context.Context, e *env, client app.Client, limit int) error {
	views := []bundleView{}
	var after store.Handle
	for limit == 0 || len(views) < limit {
		page := listPage
		if limit > 0 {
			page = min(page, limit-len(views))
		}
		records, err := client.Bundles(ctx, after, page)
		if err != nil {
			return fmt.Errorf("bundle ls: %w", err)
		}
		if len(records) == 0 {
			break
		}
		for i := range records {
			views = append(views, viewBundle(&records[i]))
		}
		after = records[len(records)-1].Handle
	}
	now := e.now()
	return e.print(views, func(w io.Writer) {
		row(w, "BUNDLE", "TO", "PAYLOAD", "DUTY", "PRIORITY", "CUSTODY", "ATTEMPTS", "EXPIRES IN")
		for _, v := range views {
			custody := "no"
			if v.Custodial {
				custody = "yes"
			}
			row(w, v.ID, v.Destination, bytesText(v.PayloadLen), v.Duty, v.Priority, custody, v.Attempts, until(now, v.Expiry))
		}
	})
}

func newBundleShow(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "show BUNDLE-ID",
		Short:   "Show what the node keeps of a bundle",
		Example: "  perigee bundle show ipn:2.11@847912345678.3",
		Args:    exactArgs("BUNDLE-ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseID(args[0])
			if err != nil {
				return err
			}
			return e.withDaemon(func(client app.Client) error { return runTrace(cmd.Context(), e, client, id, false) })
		},
	}
}

func newBundleRm(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "rm BUNDLE-ID...",
		Short: "Delete bundles from the node",
		Long: `Rm deletes stored bundles, and gives up custody of them: what no other node has is
then lost.`,
		Example: "  perigee bundle rm ipn:2.11@847912345678.3",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exactArgs("BUNDLE-ID")(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ids := make([]bundle.ID, len(args))
			for i, arg := range args {
				var err error
				if ids[i], err = parseID(arg); err != nil {
					return err
				}
			}
			return e.withDaemon(func(client app.Client) error { return runBundleRm(cmd.Context(), e, client, ids) })
		},
	}
}

// runBundleRm removes what it can; the outcome tells about the rest.
func runBundleRm(ctx context.Context, e *env, client app.Client, ids []bundle.ID) error {
	removed := []bundle.ID{}
	var failures []error
	for _, id := range ids {
		if err := client.Remove(ctx, id); err != nil {
			failures = append(failures, fmt.Errorf("bundle rm %s: %w", id, err))
			continue
		}
		removed = append(removed, id)
	}
	err := e.print(map[string][]bundle.ID{"removed": removed}, func(w io.Writer) {
		for _, id := range removed {
			row(w, "removed", id)
		}
	})
	return errors.Join(append(failures, err)...)
}

func newBundleExport(e *env) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "export BUNDLE-ID",
		Short: "Write the stored bytes of a bundle",
		Long: `Export writes a bundle as the node keeps it, to standard output or to the file named
by --out, which appears only when it is whole. The bundle stays where it is.`,
		Example: `  perigee bundle export --out batch.bundle ipn:2.11@847912345678.3
  perigee bundle export ipn:2.11@847912345678.3 | perigee bundle inspect -`,
		Args: exactArgs("BUNDLE-ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseID(args[0])
			if err != nil {
				return err
			}
			return e.withDaemon(func(client app.Client) error { return runBundleExport(cmd.Context(), e, client, id, out) })
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write to `file`")
	return cmd
}

func runBundleExport(ctx context.Context, e *env, client app.Client, id bundle.ID, out string) error {
	content, err := client.Export(ctx, id)
	if err != nil {
		return fmt.Errorf("bundle export %s: %w", id, err)
	}
	defer content.Close() // only read from
	if out != "" {
		return save(out, content)
	}
	if _, err := io.Copy(e.out, content); err != nil {
		return fmt.Errorf("bundle export %s: %w", id, err)
	}
	return nil
}
