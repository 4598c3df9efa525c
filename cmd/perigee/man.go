package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newMan(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages",
		Long:  "Man writes one manual page for each command into the folder DIR, which it creates.",
		Example: `  perigee man /usr/local/share/man/man1
  man -M /usr/local/share/man perigee-bundle-inspect`,
		Args: exactArgs("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error { return runMan(e, cmd.Root(), args[0]) },
	}
}

func runMan(e *env, root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make folder for manual pages: %w", err)
	}
	date := e.now().Time()
	root.DisableAutoGenTag = true
	header := doc.GenManHeader{Section: "1", Source: "Perigee", Manual: "Perigee manual", Date: &date}
	if err := doc.GenManTree(root, &header, dir); err != nil {
		return fmt.Errorf("write manual pages to %s: %w", dir, err)
	}
	return nil
}
