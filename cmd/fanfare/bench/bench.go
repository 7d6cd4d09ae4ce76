// Package bench measures the budgets of the design, each beside a bare loop in the same run, and prints the ratio: absolute times belong
// to the machine. A row enters where `start` does and goes the way that users' messages go: a server in a process of its own, its
// planner, queue, claims and journal. Only the numbers of people are handed out without profiles where no profile is read.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"fanfare"
)

// Config says what to measure.
type Config struct {
	Exe    string   // this program
	Rows   []string // empty: all
	Scale  int      // divides the numbers of people; 1 measures what the design says
	JSON   bool
	Out    io.Writer
	Errors io.Writer // what the servers log
	// Postgres is a database for the row of PostgreSQL; without one there is no such row.
	Postgres string
}

// Row is one measured row.
type Row struct {
	Name    string             `json:"row"`
	What    string             `json:"what"`
	Figures map[string]float64 `json:"figures"`
	Budget  string             `json:"budget"`
	Bare    string             `json:"bare_loop"`
	Ratio   float64            `json:"ratio,omitempty"` // to the bare loop, in throughput
	text    string
}

type rowFunc func(context.Context, *bench) (Row, error)

func rows() map[string]rowFunc {
	return map[string]rowFunc{"email": email, "import": imports, "restart": restart, "pause": pauseRow, "delivery": delivery, "inbox": inbox, "audience": audiences, "marks": marks, "page": pageRow}
}

// Names lists the rows in the order they run.
func Names() []string {
	return []string{"import", "email", "pause", "delivery", "inbox", "audience", "marks", "page", "restart"}
}

type bench struct {
	Config
	dir string
}

// n scales a number of people.
func (b *bench) n(people int) int { return max(1000, people/max(1, b.Scale)) }

// Run measures.
func Run(ctx context.Context, c Config) (err error) {
	names := c.Rows
	if len(names) == 0 {
		names = Names()
	}
	all := rows()
	if c.Postgres != "" {
		all[postgresRow] = postgres
		if len(c.Rows) == 0 {
			names = []string{postgresRow}
		}
	}
	for _, name := range names {
		if all[name] == nil {
			return fmt.Errorf("%w: no row %q; there are %s", fanfare.ErrUsage, name, strings.Join(Names(), ", "))
		}
	}
	b := &bench{Config: c}
	if b.dir, err = os.MkdirTemp("", "fanfare-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	for _, name := range names {
		if !c.JSON {
			fmt.Fprintf(c.Out, "%-9s ", name) // what follows takes a while
		}
		r, err := all[name](ctx, b)
		if err != nil {
			return fmt.Errorf("row %s: %w", name, err)
		}
		r.Name = name
		if c.JSON {
			if err := json.NewEncoder(c.Out).Encode(r); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(c.Out, "%s\n          %s\n          budget: %s\n", r.What, r.text, r.Budget)
		if r.Bare != "" {
			fmt.Fprintf(c.Out, "          bare loop: %s; ratio %.2f\n", r.Bare, r.Ratio)
		}
		fmt.Fprintln(c.Out)
	}
	return nil
}
