package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"fanfare"
)

// settingInboxKeys is the setting that holds the keys of inbox tokens, their secrets sealed.
const settingInboxKeys = "inbox_keys"

// mostInboxKeys bounds them: a token without a kid is tried with each.
const mostInboxKeys = 20

// inboxKey is a key that an integrator signs inbox tokens with.
type inboxKey struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Secret    string    `json:"secret"` // sealed
	CreatedAt time.Time `json:"created_at"`
}

func (k inboxKey) sealedAs() string { return "\x00inbox key " + k.ID }

func inboxKeys(v fanfare.ControlView) (all []inboxKey, err error) {
	raw, err := v.Setting(settingInboxKeys)
	if errors.Is(err, fanfare.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return all, json.Unmarshal(raw, &all)
}

func putInboxKeys(tx fanfare.ControlTx, all []inboxKey) error {
	raw, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return tx.PutSetting(settingInboxKeys, raw)
}

type inboxKeyView struct {
	ID        string    `json:"id" doc:"Name it in the token's header as kid, or leave it out: then all keys are tried."`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	Key       *string   `json:"key,omitempty" doc:"Shown once. Its characters, as they stand here, are the HS256 key."`
}

type inboxKeyIn struct {
	Body *struct {
		Name string `json:"name,omitempty" maxLength:"200"`
	}
}

type inboxKeyPath struct {
	ID string `path:"id"`
}

type tokenIn struct {
	RecipientPath
	Body *struct {
		TTL int `json:"ttl_seconds,omitempty" minimum:"1" maximum:"86400" default:"900"`
	}
}

// defaultTTL is how long a token is good where nobody says.
const defaultTTL = 15 * time.Minute

type tokenView struct {
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (s *Server) inboxKeyRoutes() {
	const at = "/v1/inbox_keys"
	route(s, operation{method: http.MethodPost, path: at, id: "create-inbox-key", tag: "inbox", scope: scopeKeysWrite, status: http.StatusCreated, keyed: true, secret: true, summary: "Make a key to sign inbox tokens with",
		doc: `A token is a JWT signed with HS256: {"sub": external id, "aud": "fanfare-inbox", "exp": seconds}, and better "iat": seconds, when it was signed: without it, it is not taken for an external id of somebody who was erased. To change keys make a new one, sign with it, and revoke the old one when its last token has ended. At most 20.`}, s.createInboxKey)
	route(s, operation{method: http.MethodGet, path: at, id: "list-inbox-keys", tag: "inbox", scope: scopeKeysWrite, summary: "List keys of inbox tokens"}, s.listInboxKeys)
	routeNone(s, operation{method: http.MethodDelete, path: at + "/{id}", id: "delete-inbox-key", tag: "inbox", scope: scopeKeysWrite, summary: "Revoke a key of inbox tokens",
		doc: "Its tokens are refused at once on this node, on others within a second."}, s.deleteInboxKey)
	route(s, operation{method: http.MethodPost, path: "/v1/recipients/{external_id}/token", id: "create-inbox-token", tag: "inbox", scope: scopeInboxToken, summary: "Make a token for a recipient's own inbox",
		doc: "For servers that do not want to sign by themselves. Hand it to the recipient's browser or app; it opens their inbox and nothing else."}, s.createToken)
}

func (s *Server) createInboxKey(ctx context.Context, c *call, in *inboxKeyIn) (*reply[inboxKeyView], error) {
	name := ""
	if in.Body != nil {
		name = in.Body.Name
	}
	if name != "" {
		if err := checkName("#/name", name); err != nil {
			return nil, err
		}
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	text := base64.RawURLEncoding.EncodeToString(secret)
	defer s.Tokens.changed()
	return commit(ctx, c, func(tx fanfare.ControlTx) (*reply[inboxKeyView], error) {
		all, err := inboxKeys(tx)
		if err != nil {
			return nil, err
		}
		if len(all) >= mostInboxKeys {
			return nil, conflict("too_many", "There are %d keys already; revoke one that nobody signs with any more.", len(all))
		}
		k := inboxKey{ID: "ikey_" + rand.Text()[:16], Name: name, CreatedAt: tx.Now()}
		k.Secret = s.Seal(k.sealedAs(), text)
		if err := putInboxKeys(tx, append(all, k)); err != nil {
			return nil, err
		}
		return created("/v1/inbox_keys/"+k.ID, inboxKeyView{ID: k.ID, Name: k.Name, CreatedAt: k.CreatedAt, Key: &text}), c.audit(tx, "inbox_key.create", k.ID, k.Name)
	})
}

func (s *Server) listInboxKeys(ctx context.Context, _ *call, in *Page) (*reply[list[inboxKeyView]], error) {
	var all []inboxKey
	if err := s.Store.View(ctx, func(v fanfare.ControlView) (err error) {
		all, err = inboxKeys(v)
		return err
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b inboxKey) int { return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID)) })
	all, next, err := pageOf(all, in, func(k inboxKey) string { return k.ID })
	if err != nil {
		return nil, err
	}
	views := make([]inboxKeyView, len(all))
	for i, k := range all {
		views[i] = inboxKeyView{ID: k.ID, Name: k.Name, CreatedAt: k.CreatedAt}
	}
	return ok(listOf(views, next)), nil
}

func (s *Server) deleteInboxKey(ctx context.Context, c *call, in *inboxKeyPath) error {
	defer s.Tokens.changed()
	return s.Store.Update(ctx, func(tx fanfare.ControlTx) error {
		all, err := inboxKeys(tx)
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(slices.Clone(all), func(k inboxKey) bool { return k.ID == in.ID })
		if len(left) == len(all) {
			return notFound("inbox key", in.ID)
		}
		if err := putInboxKeys(tx, left); err != nil {
			return err
		}
		return c.audit(tx, "inbox_key.delete", in.ID, "")
	})
}

func (s *Server) createToken(ctx context.Context, _ *call, in *tokenIn) (*reply[tokenView], error) {
	r, err := s.Store.Recipient(ctx, in.ExternalID)
	if err != nil {
		return nil, missing(err, "recipient", in.ExternalID)
	}
	ttl := defaultTTL
	if in.Body != nil && in.Body.TTL > 0 {
		ttl = time.Duration(in.Body.TTL) * time.Second
	}
	until := time.Now().UTC().Add(ttl).Truncate(time.Second)
	token, err := s.Tokens.mint(r.ExternalID, r.Person, until)
	if err != nil {
		return nil, err
	}
	return ok(tokenView{Token: token, ExpiresAt: until}), nil
}
