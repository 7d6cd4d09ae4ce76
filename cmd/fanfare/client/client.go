// Package client speaks the HTTP API for the command line: requests with the key, problems as errors that say what to do, and the
// progress stream.
package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fanfare"
)

// Client calls one server.
type Client struct {
	URL string
	Key string
	// HTTP has no timeout of its own: streams are long; every call has a context.
	HTTP *http.Client
}

// New makes a client for the server at base. An empty key is read from the data folder's admin.key; that there is none is said by the
// server's answer, not here.
func New(base, key, dataDir string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%w: --url %q is no URL; write it like http://127.0.0.1:8080", fanfare.ErrUsage, base)
	}
	if key == "" {
		if b, err := os.ReadFile(filepath.Join(dataDir, "admin.key")); err == nil {
			key = strings.TrimSpace(string(b))
		}
	}
	return &Client{URL: strings.TrimRight(base, "/"), Key: key, HTTP: &http.Client{}}, nil
}

// Problem is an answer of kind application/problem+json.
type Problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Errors []struct {
		Pointer   string `json:"pointer"`
		Parameter string `json:"parameter"`
		Code      string `json:"code"`
		Detail    string `json:"detail"`
	} `json:"errors"`
}

func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Detail)
	if p.Detail == "" {
		b.WriteString(p.Title)
	}
	for _, e := range p.Errors {
		at := strings.TrimPrefix(e.Pointer, "#/")
		if at == "" {
			at = e.Parameter
		}
		fmt.Fprintf(&b, "\n  %s: %s", at, e.Detail)
	}
	if p.Status == http.StatusUnauthorized {
		b.WriteString("\n  give the key in FANFARE_KEY, or name the server's data folder with --data")
	}
	return b.String()
}

// Do calls method path with in as the JSON body (nil: none) and decodes the answer into out (nil: thrown away).
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	kind := ""
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		body, kind = bytes.NewReader(b), "application/json"
	}
	r, err := c.Send(ctx, method, path, kind, body, nil)
	if err != nil {
		return err
	}
	defer r.Body.Close() //nolint:errcheck // read to its end
	if out == nil {
		_, err = io.Copy(io.Discard, r.Body)
	} else {
		err = json.NewDecoder(r.Body).Decode(out)
	}
	if err != nil {
		return fmt.Errorf("%s %s: the answer cannot be read: %w", method, path, err)
	}
	return nil
}

// Send calls method path with a body and answers the open response of a success; a problem is an error.
func (c *Client) Send(ctx context.Context, method, path, kind string, body io.Reader, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if c.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.Key)
	}
	r, err := c.HTTP.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("no server answers at %s; start one with: fanfare serve, or name it in FANFARE_URL (%w)", c.URL, errors.Unwrap(err))
	}
	if r.StatusCode < 300 {
		return r, nil
	}
	defer r.Body.Close() //nolint:errcheck // read as far as needed
	p := &Problem{Status: r.StatusCode}
	b, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if json.Unmarshal(b, p) != nil || p.Detail == "" && p.Title == "" {
		p.Detail = fmt.Sprintf("%s %s: the server answers %s", method, path, r.Status)
	}
	return nil, p
}

// Counts are a progress' numbers.
type Counts struct {
	Audience, Planned, Sent, Failed, Skipped, Uncertain, Remaining int
	InFlight                                                       int `json:"in_flight"`
	Doubted                                                        int
	Delivered, Bounced, Complained, Unsubscribed                   int
	Seen, Read, Clicked                                            int
}

// Progress is how far a message has come.
type Progress struct {
	Status   int      `json:"status"`
	Phase    string   `json:"phase"`
	Counts   Counts   `json:"counts"`
	Balanced bool     `json:"balanced"`
	Rate     float64  `json:"rate_per_second"`
	ETA      *float64 `json:"eta_seconds"`
	Waiting  *struct {
		Reason   string `json:"reason"`
		Provider string `json:"provider"`
		Detail   string `json:"detail"`
	} `json:"waiting"`
	Raw json.RawMessage `json:"-"` // all of it, as the server sent it
}

// Message is a message's head.
type Message struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	Channel     string     `json:"channel"`
	Status      int        `json:"status"`
	Phase       string     `json:"phase"`
	PauseReason string     `json:"pause_reason"`
	Outcome     string     `json:"outcome"`
	CreatedAt   time.Time  `json:"created_at"`
	StartedAt   *time.Time `json:"started_at"`
	FinishedAt  *time.Time `json:"finished_at"`
}

// Watch follows a message's progress stream and calls fn for each event until the stream ends, fn answers an error, or ctx ends. A
// stream that breaks is opened again.
func (c *Client) Watch(ctx context.Context, id string, fn func(Progress) error) error {
	for {
		final, err := c.stream(ctx, id, fn)
		if final || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		var stop *stopped
		var p *Problem
		if errors.As(err, &stop) {
			return stop.err
		}
		if errors.As(err, &p) && p.Status < 500 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
}

type stopped struct{ err error }

func (s *stopped) Error() string { return s.err.Error() }

func (c *Client) stream(ctx context.Context, id string, fn func(Progress) error) (final bool, err error) {
	r, err := c.Send(ctx, http.MethodGet, "/v1/messages/"+url.PathEscape(id)+"/progress/stream", "", nil, http.Header{"Accept": {"text/event-stream"}})
	if err != nil {
		return false, err
	}
	defer r.Body.Close() //nolint:errcheck // a stream
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		if !ok {
			continue
		}
		var p Progress
		if err := json.Unmarshal([]byte(data), &p); err != nil {
			return false, fmt.Errorf("progress of %s: %w", id, err)
		}
		p.Raw = json.RawMessage(strings.TrimSpace(data))
		if err := fn(p); err != nil {
			return false, &stopped{err}
		}
		final = p.Status == 3
	}
	return final, lines.Err()
}
