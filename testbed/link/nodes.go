package link

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Namespaces are network namespaces for nodes that may have many links: Config.Ends
// says which of them a link joins. Whoever made them takes them down, after the links
// and when what runs in them has ended.
type Namespaces struct {
	spaces spaces
	byNode map[string]Namespace
}

// MakeNamespaces makes a network namespace for each node, through run, RunCommand if
// nil. The names of the namespaces end with those of the nodes. It needs root.
func MakeNamespaces(ctx context.Context, run Runner, nodes ...string) (*Namespaces, error) {
	return makeNamespaces(ctx, run, os.Getpid(), nodes)
}

func makeNamespaces(ctx context.Context, run Runner, pid int, nodes []string) (*Namespaces, error) {
	if run == nil {
		run = RunCommand
	}
	n := &Namespaces{spaces: spaces{run: run}, byNode: make(map[string]Namespace)}
	if err := n.make(ctx, pid, nodes); err != nil {
		err = fmt.Errorf("making network namespaces for nodes: %w", err)
		return nil, errors.Join(err, n.Down(context.WithoutCancel(ctx)))
	}
	return n, nil
}

func (n *Namespaces) make(ctx context.Context, pid int, nodes []string) error {
	var parts []string
	for _, node := range nodes {
		if !namespaceName.MatchString(node) {
			return fmt.Errorf("%q is no name for one; take letters, digits, '.', '_' and '-', at most 64", node)
		}
		parts = append(parts, partNode+node)
	}
	names, err := n.spaces.add(ctx, Config{}, pid, parts...)
	if err != nil {
		return err
	}
	for i, node := range nodes {
		n.byNode[node] = Namespace{Name: names[i]}
		if err := runAll(ctx, n.spaces.run, []command{{"ip", "-n", names[i], "link", "set", "lo", "up"}}); err != nil {
			return err
		}
	}
	return nil
}

// Of returns the namespace of a node, without an interface or an address.
func (n *Namespaces) Of(node string) Namespace { return n.byNode[node] }

// Down removes the namespaces. It may be called again.
func (n *Namespaces) Down(ctx context.Context) error {
	if err := n.spaces.remove(ctx); err != nil {
		return fmt.Errorf("removing the network namespaces of nodes: %w", err)
	}
	return nil
}
