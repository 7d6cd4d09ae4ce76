package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"fanfare"
)

// maxAnswerKey bounds an Idempotency-Key.
const maxAnswerKey = 255

// begin looks whether the call was made before. Two at once in this process: the second is told to wait; in two processes the second
// finds the first one's answer when it comes to keep its own, and what it did is undone (see keep).
func (s *Server) begin(c *call, r *http.Request, given string) (done func(), err error) {
	if len(given) > maxAnswerKey {
		return func() {}, problem(http.StatusBadRequest, "idempotency_key", "An Idempotency-Key has at most %d characters; choose a shorter one.", maxAnswerKey)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s", c.key.ID, r.Method, r.URL.EscapedPath(), given))
	key := base64.RawURLEncoding.EncodeToString(sum[:])
	s.mu.Lock()
	_, under := s.running[key]
	s.running[key] = struct{}{}
	s.mu.Unlock()
	if under {
		p := conflict("running", "The first call with this Idempotency-Key is still running; ask again in a moment.")
		p.after = 1
		return func() {}, p
	}
	done = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.running, key)
	}
	c.answerKey = key
	var first fanfare.StoredAnswer
	err = s.Store.View(r.Context(), func(v fanfare.ControlView) (err error) {
		first, err = v.StoredAnswer(key)
		return err
	})
	switch {
	case errors.Is(err, fanfare.ErrNotFound):
		return done, nil
	case err != nil:
		return done, err
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil { // a streamed body is known at its end only
		return done, err
	}
	return done, c.again(first)
}

// again gives the first answer as an error that ends the call.
func (c *call) again(first fanfare.StoredAnswer) error {
	if first.BodyHash != c.hash() {
		return problem(http.StatusUnprocessableEntity, "idempotency_key_reused", "This Idempotency-Key was used for another body; take a new one for a new request.")
	}
	a := &replayed{status: first.Status, body: first.Body}
	if err := json.Unmarshal(first.Header, &a.header); err != nil {
		return fmt.Errorf("stored answer: %w", err)
	}
	if c.secret {
		text, err := c.server.Open(sealedAnswer, string(first.Body))
		if err != nil {
			return fmt.Errorf("stored answer: %w", err)
		}
		a.body = []byte(text)
	}
	return a
}

// sealedAnswer names stored answers where they are sealed.
const sealedAnswer = "answer"

// keep stores the answer of a call in the transaction of its effect.
func keep[B any](c *call, tx fanfare.ControlTx, out *reply[B]) error {
	if c.answerKey == "" {
		return nil
	}
	first, err := tx.StoredAnswer(c.answerKey)
	if err == nil {
		return c.again(first)
	} else if !errors.Is(err, fanfare.ErrNotFound) {
		return err
	}
	body, err := encode(out.Body)
	if err != nil {
		return err
	}
	if c.secret {
		body = []byte(c.server.Seal(sealedAnswer, string(body)))
	}
	header := http.Header{}
	if out.Location != "" {
		header.Set("Location", out.Location)
	}
	if out.ETag != "" {
		header.Set("ETag", out.ETag)
	}
	raw, err := json.Marshal(header)
	if err != nil {
		return err
	}
	c.kept = true
	return tx.StoreAnswer(fanfare.StoredAnswer{Key: c.answerKey, BodyHash: c.hash(), Status: out.Status, Header: raw, Body: body})
}

// keepLast stores the answer of a call whose effect was no control transaction: what it did may be done twice without harm.
func keepLast[B any](ctx context.Context, c *call, out *reply[B]) error {
	if c.answerKey == "" || c.kept {
		return nil
	}
	return c.server.Store.Update(ctx, func(tx fanfare.ControlTx) error { return keep(c, tx, out) })
}

// commit runs fn and keeps its answer in one transaction.
func commit[B any](ctx context.Context, c *call, fn func(fanfare.ControlTx) (*reply[B], error)) (out *reply[B], err error) {
	err = c.server.Store.Update(ctx, func(tx fanfare.ControlTx) error {
		if out, err = fn(tx); err != nil {
			return err
		}
		return keep(c, tx, out)
	})
	return out, err
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// replayed is a first answer, told again.
type replayed struct {
	status int
	header http.Header
	body   []byte
}

func (r *replayed) Error() string { return "answered before" }

// GetStatus implements huma.StatusError.
func (r *replayed) GetStatus() int { return r.status }

// GetHeaders implements huma.HeadersError.
func (r *replayed) GetHeaders() http.Header {
	h := r.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("Idempotency-Replayed", "true")
	return h
}

// MarshalJSON gives the first answer's body.
func (r *replayed) MarshalJSON() ([]byte, error) { return r.body, nil }

func (r *replayed) write(w http.ResponseWriter) {
	for name, values := range r.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body) // the client is gone
}
