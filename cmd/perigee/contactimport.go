package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"perigee/bundle/app"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

type contactImportOptions struct {
	form       planForm
	reference  string
	clockError dtntime.Duration
	replace    bool
	replaceAll bool
}

func newContactImport(e *env) *cobra.Command {
	o := contactImportOptions{form: formPerigee}
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Take the contacts of a file into the plan of the daemon",
		Long: `Import adds the contacts of a file, or of standard input for -, to the plan of the running
daemon, at once and for good. Contacts that the plan has already change nothing; ones
that overlap others are refused, all together. With --replace, what the file says
takes the place of all that the plan says about the same nodes in the span of the file;
with --replace-all, of the whole plan.

The form is perigee (one JSON object a line), ion (commands of ionadmin, rates in bytes a
second) or hdtn (JSON, rates in bits a second). Relative times of the latter two count
from --reference; those of hdtn are Unix time with --reference unix.`,
		Example: `  perigee contact import passes.jsonl
  perigee contact import --form ion --clock-error 1s --replace contacts.ionrc
  perigee contact import --form hdtn --reference unix contactPlan.json
  perigee contact predict --network network.toml --elements gp.json --plan perigee | perigee contact import --replace -`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			plan, err := o.read(e, args[0])
			if err != nil {
				return err
			}
			return e.withDaemon(func(client app.Client) error { return runContactImport(cmd.Context(), e, client, plan, o) })
		},
	}
	f := cmd.Flags()
	f.Var(&o.form, "form", "`form` of the file: perigee, ion or hdtn")
	f.StringVar(&o.reference, "reference", "now", "`time` from which relative times count")
	f.TextVar(&o.clockError, "clock-error", dtntime.Duration(0), "`time` by which contacts begin later and end earlier")
	f.BoolVar(&o.replace, "replace", false, "take the place of what the plan says about the nodes and the span of the file")
	f.BoolVar(&o.replaceAll, "replace-all", false, "take the place of the whole plan")
	return cmd
}

// read reads the file.
func (o *contactImportOptions) read(e *env, name string) (*contact.Plan, error) {
	if o.replace && o.replaceAll {
		return nil, usagef("give --replace or --replace-all, not both")
	}
	var at moment
	reference := contact.HDTNUnix
	if o.reference != "unix" {
		if err := at.Set(o.reference); err != nil {
			return nil, usagef("--reference: %w", err)
		}
		reference = at.time(e.now())
	} else if o.form != formHDTN {
		return nil, usagef("--reference unix is for --form hdtn")
	}
	in, err := e.openInput(name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	plan, err := o.form.read(in, reference)
	if err != nil {
		return nil, fmt.Errorf("contact import: %s: %w", name, err)
	}
	return plan.Narrowed(o.clockError), nil
}

func runContactImport(ctx context.Context, e *env, client app.Client, plan *contact.Plan, o contactImportOptions) error {
	return contextual("contact import", changePlan(ctx, e, client, func(p *contact.Plan) (*contact.Plan, error) {
		switch {
		case o.replaceAll:
			return plan, nil
		case o.replace:
			return p.Replacing(plan)
		}
		var contacts []contact.Contact
		for c := range plan.All() {
			contacts = append(contacts, c)
		}
		return p.With(contacts...)
	}))
}
