// Command fetch brings onnxruntime and the ONNX networks of the tests into the cache
// folder, and prints the path of the shared library.
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
	files, err := assets.FetchRuntime(ctx, assets.Options{Progress: func(line string) { fmt.Fprintln(os.Stderr, line) }})
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "fetch: %v\n", err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stdout, files.Library)
}
