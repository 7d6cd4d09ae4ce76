package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"fanfare"
)

// Shards is what the API asks of a store of several shards.
type Shards interface {
	// Roster tells which shards there are and where each slot lies.
	Roster(ctx context.Context) ([]fanfare.RosterEntry, []fanfare.Placement, error)
	// Move asks for a slot to be moved; that it lies there already, or is on its way, is no error.
	Move(ctx context.Context, s fanfare.Slot, to int) error
}

type shardView struct {
	Number  int            `json:"number" doc:"Its place in --store, from 0. The first one holds the messages and everything else that is not a recipient's."`
	Name    string         `json:"name" doc:"Its address, without secrets."`
	AddedAt time.Time      `json:"added_at"`
	Slots   []fanfare.Slot `json:"slots" nullable:"false" doc:"The slots that lie there."`
	Moving  []moveView     `json:"moving" nullable:"false" doc:"Those that are just leaving, or have just come."`
}

type moveView struct {
	Slot   fanfare.Slot `json:"slot"`
	Step   string       `json:"step" enum:"moving,opening,going back"`
	Other  int          `json:"other" doc:"The shard that it goes to; while it is opening, the one that it came from."`
	Detail string       `json:"detail"`
}

type moveIn struct {
	Body struct {
		Slots []int `json:"slots" minItems:"1" maxItems:"1024" nullable:"false"`
		To    int   `json:"to" minimum:"0" doc:"The number of a shard."`
	}
}

func (s *Server) shardRoutes() {
	op := func(method, path, id, scope, summary string) operation {
		return operation{method: method, path: path, id: id, tag: "administration", scope: scope, summary: summary}
	}
	route(s, op(http.MethodGet, "/v1/shards", "list-shards", scopeMetricsRead, "List the databases and the slots that lie on each; none: there is one database"), s.listShards)
	move := op(http.MethodPost, "/v1/shards/moves", "move-slots", scopeKeysWrite, "Move slots to another database")
	move.status = http.StatusAccepted
	move.doc = "One after another, while everything goes on; a slot is closed for the seconds of its copy. GET /v1/shards tells how far it is. Asking twice does no harm."
	route(s, move, s.moveSlots)
}

func (s *Server) viewShards(ctx context.Context) ([]shardView, error) {
	if s.Shards == nil {
		return nil, nil
	}
	roster, places, err := s.Shards.Roster(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]shardView, len(roster))
	for i, e := range roster {
		all[i] = shardView{Number: e.Number, Name: e.Name, AddedAt: e.AddedAt, Slots: []fanfare.Slot{}, Moving: []moveView{}}
	}
	for _, p := range places {
		if p.Shard < 0 || p.Shard >= len(all) {
			continue // doctor says so
		}
		v := &all[p.Shard]
		v.Slots = append(v.Slots, p.Slot)
		if p.Step != fanfare.MoveNone {
			v.Moving = append(v.Moving, moveView{Slot: p.Slot, Step: string(p.Step), Other: p.Other, Detail: p.Detail})
		}
	}
	return all, nil
}

func (s *Server) listShards(ctx context.Context, _ *call, _ *struct{}) (*reply[list[shardView]], error) {
	all, err := s.viewShards(ctx)
	if err != nil {
		return nil, err
	}
	return ok(listOf(all, "")), nil
}

func (s *Server) moveSlots(ctx context.Context, c *call, in *moveIn) (*reply[list[shardView]], error) {
	if s.Shards == nil {
		return nil, conflict("state", "This server has one database, so there is nowhere to move a slot. Name several --store.")
	}
	roster, places, err := s.Shards.Roster(ctx)
	if err != nil {
		return nil, err
	}
	if in.Body.To >= len(roster) {
		return nil, problem(http.StatusUnprocessableEntity, "invalid", "There is no shard %d; GET /v1/shards lists them.", in.Body.To)
	}
	for _, n := range in.Body.Slots {
		if n < 0 || n >= len(places) {
			return nil, problem(http.StatusUnprocessableEntity, "invalid", "There is no slot %d; there are %d, from 0.", n, len(places))
		}
	}
	for _, n := range slices.Compact(slices.Sorted(slices.Values(in.Body.Slots))) {
		if err := s.Store.Update(ctx, func(tx fanfare.ControlTx) error {
			return c.audit(tx, "shard.move", fmt.Sprintf("slot %d", n), fmt.Sprintf("from shard %d to shard %d", places[n].Shard, in.Body.To))
		}); err != nil {
			return nil, err
		}
		if err := s.Shards.Move(ctx, fanfare.Slot(n), in.Body.To); err != nil { //nolint:gosec // checked
			return nil, err
		}
	}
	all, err := s.viewShards(ctx)
	if err != nil {
		return nil, err
	}
	return &reply[list[shardView]]{Status: http.StatusAccepted, Body: listOf(all, "")}, nil
}
