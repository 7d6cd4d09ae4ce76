package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
)

// shardsCommand lists the databases, and moves slots between them.
type shardsCommand struct {
	List shardsList `cmd:"" default:"1" help:"List the databases and the slots that lie on each."`
	Move shardsMove `cmd:"" help:"Move slots to another database, while everything goes on."`
}

type shardsList struct {
	server
	JSON bool `name:"json" help:"As JSON."`
}

type shardRow struct {
	Number int
	Name   string
	Slots  []int
	Moving []struct {
		Slot  int
		Step  string
		Other int
	}
}

// Run lists.
func (l *shardsList) Run(ctx context.Context, io streams) error {
	c, err := l.client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := c.Do(ctx, http.MethodGet, "/v1/shards", nil, &raw); err != nil {
		return err
	}
	if l.JSON {
		return indent(io.out, raw)
	}
	return showShards(io, raw)
}

func showShards(io streams, raw json.RawMessage) error {
	var all struct{ Items []shardRow }
	if err := json.Unmarshal(raw, &all); err != nil {
		return fmt.Errorf("the answer cannot be read: %w", err)
	}
	if len(all.Items) == 0 {
		_, err := fmt.Fprintln(io.out, "There is one database.")
		return err
	}
	w := tabwriter.NewWriter(io.out, 2, 4, 2, ' ', 0)
	fmt.Fprintln(w, "SHARD\tDATABASE\tSLOTS\tMOVING")
	for _, s := range all.Items {
		var slots, moving []string
		for _, n := range s.Slots {
			slots = append(slots, strconv.Itoa(n))
		}
		for _, m := range s.Moving {
			moving = append(moving, fmt.Sprintf("%d (%s, %d)", m.Slot, m.Step, m.Other))
		}
		if len(moving) == 0 {
			moving = []string{"-"}
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", s.Number, printable(s.Name), strings.Join(slots, " "), strings.Join(moving, ", "))
	}
	return w.Flush()
}

type shardsMove struct {
	server
	To    int   `name:"to" required:"" help:"Number of the shard."`
	Slots []int `arg:"" help:"Numbers of slots."`
}

// Help teaches by example.
func (*shardsMove) Help() string {
	return `It answers at once; fanfare shards list tells how far the moves are. A slot is closed for the seconds of its copy: what writes in it waits.

  fanfare shards move 3 7 11 --to 1`
}

// Run asks for the moves.
func (m *shardsMove) Run(ctx context.Context, io streams) error {
	c, err := m.client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := c.Do(ctx, http.MethodPost, "/v1/shards/moves", map[string]any{"slots": m.Slots, "to": m.To}, &raw); err != nil {
		return err
	}
	return showShards(io, raw)
}
