// Command fetch brings what the demonstration and the slower tests need into the cache
// folder: networks, pictures of the Earth, and onnxruntime, the path of whose shared
// library it prints.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"perigee/testbed/assets"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	library, err := fetch(ctx, assets.Options{Progress: func(line string) { fmt.Fprintln(os.Stderr, line) }})
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "fetch: %v\n", err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stdout, library)
}

func fetch(ctx context.Context, o assets.Options) (library string, err error) {
	if _, err := assets.Fetch(ctx, o); err != nil {
		return "", err
	}
	files, err := assets.FetchRuntime(ctx, o)
	return files.Library, err
}
