package web

import (
	"encoding/json"
	"time"

	"fanfare"
)

// The API's shapes, as far as the pages show them.

type message struct {
	ID          string                          `json:"id"`
	Name        string                          `json:"name"`
	Channel     string                          `json:"channel"`
	Status      fanfare.Status                  `json:"status"`
	Phase       fanfare.Phase                   `json:"phase"`
	PauseReason string                          `json:"pause_reason"`
	Outcome     string                          `json:"outcome"`
	Revision    int                             `json:"revision"`
	Generation  int                             `json:"generation"`
	Audience    json.RawMessage                 `json:"audience"`
	Topic       *string                         `json:"topic"`
	Essential   bool                            `json:"essential"`
	Dedupe      *string                         `json:"dedupe"`
	Provider    *string                         `json:"provider"`
	Limit       *float64                        `json:"rate"`
	Content     struct{ Subject, Title string } `json:"content"`
	CreatedAt   time.Time                       `json:"created_at"`
	SendAt      *time.Time                      `json:"send_at"`
	StartedAt   *time.Time                      `json:"started_at"`
	FinishedAt  *time.Time                      `json:"finished_at"`
	NotAfter    *time.Time                      `json:"not_after"`
}

// Title is what a person calls the message.
func (m *message) Title() string {
	if m.Name == "" {
		return m.ID
	}
	return m.Name
}

type counts struct {
	Audience     int `json:"audience"`
	Planned      int `json:"planned"`
	Sent         int `json:"sent"`
	Failed       int `json:"failed"`
	Skipped      int `json:"skipped"`
	Uncertain    int `json:"uncertain"`
	Remaining    int `json:"remaining"`
	InFlight     int `json:"in_flight"`
	Doubted      int `json:"doubted"`
	Delivered    int `json:"delivered"`
	Bounced      int `json:"bounced"`
	Complained   int `json:"complained"`
	Unsubscribed int `json:"unsubscribed"`
	Seen         int `json:"seen"`
	Read         int `json:"read"`
	Clicked      int `json:"clicked"`
}

type progress struct {
	Counts   counts   `json:"counts"`
	Balanced bool     `json:"balanced"`
	Pace     float64  `json:"rate_per_second"`
	ETA      *float64 `json:"eta_seconds"`
	Batches  struct {
		Total int `json:"total"`
		Done  int `json:"done"`
	} `json:"batches"`
	Waiting *fanfare.WaitingFor `json:"waiting"`
}

// part is one term of the balance: a result, how many, and where it lies in the bar of 1,000.
type part struct {
	Name     string
	N        int
	X, Width float64
}

// Parts gives the terms of the sum. In the bar whoever is there can be seen, be it one in a million: a part has at least 4 of the 1,000.
func (c counts) Parts() []part {
	parts := []part{{Name: "sent", N: c.Sent}, {Name: "failed", N: c.Failed}, {Name: "skipped", N: c.Skipped}, {Name: "uncertain", N: c.Uncertain},
		{Name: "in_flight", N: c.InFlight}, {Name: "remaining", N: c.Remaining}}
	return lay(c.Audience, parts)
}

// Reads gives the terms of the sum of those who were sent to: who has read, who has seen and not read, who has not seen. Marks are
// counted at once and the sent are counted a moment later, so nothing goes below none.
func (c counts) Reads() []part {
	seen := max(c.Seen, c.Read)
	return lay(c.Sent, []part{{Name: "read", N: c.Read}, {Name: "looked", N: seen - c.Read}, {Name: "not_seen", N: max(0, c.Sent-seen)}})
}

// ReadShare is how many of those who were sent to have read, in tenths of a percent, rounded down.
func (c counts) ReadShare() int {
	return min(1000, c.Read*1000/max(c.Sent, 1))
}

// lay gives each part its place in the bar.
func lay(whole int, parts []part) []part {
	var sum float64
	for i := range parts {
		if n := parts[i].N; n > 0 {
			parts[i].Width = max(4, 1000*float64(n)/float64(max(whole, 1)))
		}
		sum += parts[i].Width
	}
	x := 0.0
	for i := range parts {
		parts[i].Width *= 1000 / max(sum, 1)
		parts[i].X = x
		x += parts[i].Width
	}
	return parts
}

// AddsUp is the page's own look at the sum: it does not take the API's word alone.
func (c counts) AddsUp() bool {
	return c.Audience == c.Sent+c.Failed+c.Skipped+c.Uncertain+c.InFlight+c.Remaining
}

// Share is how much of the audience is over and done with, in tenths of a percent, rounded down: 100 % is everybody.
func (c counts) Share() int {
	if c.Audience == 0 {
		return 0
	}
	return (c.Audience - c.Remaining - c.InFlight) * 1000 / c.Audience
}

type failure struct {
	Reason string `json:"reason"`
	Code   string `json:"code"`
	Sample string `json:"sample"`
	Count  int    `json:"count"`
}

type item struct {
	Recipient *string    `json:"recipient"`
	Result    string     `json:"result"`
	Reason    string     `json:"reason"`
	Code      string     `json:"code"`
	Text      string     `json:"text"`
	Attempts  int        `json:"attempts"`
	Doubted   int        `json:"doubted"`
	SentAt    *time.Time `json:"sent_at"`
	ReadAt    *time.Time `json:"read_at"`
}

// count is who a message would go to if it started now.
type count struct {
	Recipients int            `json:"recipients"`
	Planned    int            `json:"planned"`
	Skipped    map[string]int `json:"skipped"`
}

// listed is a page of a list.
type listed[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next_cursor"`
}
