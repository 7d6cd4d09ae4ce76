package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// nodesCommand lists nodes and queues.
type nodesCommand struct {
	server
	JSON bool `name:"json" help:"As JSON."`
}

// Help teaches by example.
func (*nodesCommand) Help() string {
	return `Which nodes serve the database, what each of them holds and could still take (claims, by provider), and how many tasks wait.

  fanfare nodes
  fanfare nodes --json | jq -r '.nodes[] | select(.alive) | .name'`
}

type nodeRow struct {
	Name, Version string
	Incarnation   int64
	Roles         []string
	SeenAt        time.Time `json:"seen_at"`
	Alive         bool
	Free, Claims  map[string]int
}

type queueRow struct {
	Provider string
	Waiting  int
}

// Run lists.
func (n *nodesCommand) Run(ctx context.Context, io streams) error {
	c, err := n.client()
	if err != nil {
		return err
	}
	all := map[string][]json.RawMessage{"nodes": {}, "queues": {}}
	for name := range all {
		if err := pages(ctx, c, "/v1/"+name, url.Values{}, func(raw json.RawMessage) error {
			all[name] = append(all[name], raw)
			return nil
		}); err != nil {
			return err
		}
	}
	if n.JSON {
		text, err := json.Marshal(all)
		if err != nil {
			return err
		}
		return indent(io.out, text)
	}
	nodes, err := rows[nodeRow](all["nodes"])
	if err != nil {
		return err
	}
	queues, err := rows[queueRow](all["queues"])
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(io.out, 2, 4, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tROLES\tSEEN\tINCARNATION\tVERSION\tHOLDS\tFREE")
	for _, one := range nodes {
		seen := one.SeenAt.UTC().Format(time.DateTime)
		if one.Alive {
			seen = "alive"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", printable(one.Name), strings.Join(one.Roles, ","), seen, one.Incarnation, printable(one.Version), amounts(one.Claims), amounts(one.Free))
	}
	fmt.Fprintln(w, "\nPROVIDER\tWAITING")
	for _, one := range queues {
		fmt.Fprintf(w, "%s\t%d\n", printable(one.Provider), one.Waiting)
	}
	return w.Flush()
}

func rows[T any](raw []json.RawMessage) ([]T, error) {
	all := make([]T, len(raw))
	for i := range raw {
		if err := json.Unmarshal(raw[i], &all[i]); err != nil {
			return nil, fmt.Errorf("the answer cannot be read: %w", err)
		}
	}
	return all, nil
}

// amounts shows what is not zero: mail 3, hook 1.
func amounts(of map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		if n := of[name]; n != 0 {
			parts = append(parts, fmt.Sprintf("%s %d", printable(name), n))
		}
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}
