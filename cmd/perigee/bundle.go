package main

import "github.com/spf13/cobra"

// bundleCommands lists the commands under "perigee bundle".
func bundleCommands(e *env) []*cobra.Command {
	return append(storedBundleCommands(e),
		newInspect(e),
		newCreate(e),
	)
}

func newBundle(e *env) *cobra.Command {
	return group("bundle", "Make, read and manage bundles", "", bundleCommands(e)...)
}
