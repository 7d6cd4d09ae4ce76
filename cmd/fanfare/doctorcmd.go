package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"fanfare/cmd/fanfare/doctor"
)

type doctorCommand struct {
	folder
	JSON bool `name:"json" help:"As JSON."`
}

// Help teaches by example.
func (*doctorCommand) Help() string {
	return `It reads only, and may run beside the server. Exit code 0 if everything agrees, 1 if anything differs.

  fanfare doctor --data /var/lib/fanfare
  fanfare doctor --json | jq .differences`
}

// Run checks.
func (d *doctorCommand) Run(ctx context.Context, s streams) (err error) {
	store, done, err := d.open(ctx, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	r, err := doctor.Run(ctx, store)
	if err != nil {
		return err
	}
	return printReport(s.out, r, d.JSON)
}

// printReport answers an error if anything is wrong.
func printReport(w io.Writer, r doctor.Report, asJSON bool) error {
	if asJSON {
		b, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s\n", b); err != nil {
			return err
		}
	} else {
		for _, line := range r.Damage {
			fmt.Fprintln(w, "damaged:", printable(line))
		}
		for _, f := range r.Found {
			fmt.Fprintln(w, "differs:", printable(f.String()))
		}
		if r.More > 0 {
			fmt.Fprintf(w, "and %s more\n", number(r.More))
		}
		fmt.Fprintf(w, "looked at %s recipients in %d slots, %s messages, %s batches of %s planned, %s exceptions, %s receipts\n", number(r.Recipients), r.Slots,
			number(r.Messages), number(r.Batches), number(r.Planned), number(r.Exceptions), number(r.Receipts))
		if r.Moving > 0 {
			fmt.Fprintf(w, "%s batches were written meanwhile and not judged; run it again\n", number(r.Moving))
		}
	}
	if !r.OK {
		return fmt.Errorf("%s differences, %s damaged; nothing was changed: keep a copy of the data folder, and restore a backup if you cannot explain them",
			number(len(r.Found)+r.More), number(len(r.Damage)))
	}
	if !asJSON {
		fmt.Fprintln(w, "every counter agrees with the sets")
	}
	return nil
}
