package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"fanfare"
)

// providerView is a provider as the API shows it: without secrets.
type providerView struct {
	Name        string    `json:"name"`
	Channel     string    `json:"channel"`
	URL         string    `json:"url" doc:"Without its password."`
	HasPassword bool      `json:"has_password"`
	From        string    `json:"from"`
	Connections int       `json:"connections" doc:"Of each worker node."`
	Chunk       int       `json:"chunk"`
	Rate        *float64  `json:"rate_per_second"`
	Timeout     string    `json:"timeout"`
	Retry       retryView `json:"retry"`
	OnlyTo      []string  `json:"only_to" nullable:"false"`
	Default     bool      `json:"default"`
	Track       track     `json:"track"`
	Bounces     string    `json:"bounces"`
	DKIM        *dkimView `json:"dkim" doc:"How mail is signed; null: it is not."`
	Fixed       bool      `json:"fixed" doc:"It stands in the configuration file and is changed there."`
}

type dkimView struct {
	Domain   string `json:"domain"`
	Selector string `json:"selector"`
	Record   string `json:"record" doc:"The name of the DNS record (TXT) that has to be published."`
	Value    string `json:"value" doc:"The record's value: the public key."`
}

type retryView struct {
	Attempts int    `json:"attempts"`
	First    string `json:"first"`
	Most     string `json:"most"`
}

type providerBody struct {
	Channel     string    `json:"channel" enum:"email,null"`
	URL         string    `json:"url" maxLength:"2000" doc:"smtp://user:password@host:port, smtps://…, sandbox:?fail=1%, null:. Left without its password, the one that is kept stays."`
	Password    string    `json:"password,omitempty" maxLength:"1000" doc:"Instead of in the url."`
	From        string    `json:"from,omitempty" maxLength:"1000"`
	Connections int       `json:"connections,omitempty" minimum:"0" maximum:"1000"`
	Chunk       int       `json:"chunk,omitempty" minimum:"0" maximum:"500"`
	Rate        *float64  `json:"rate_per_second,omitempty" nullable:"true" minimum:"0" maximum:"10000000" doc:"0 or null: as fast as it takes."`
	Timeout     string    `json:"timeout,omitempty" doc:"Such as 60s."`
	Retry       *newRetry `json:"retry,omitempty"`
	OnlyTo      []string  `json:"only_to,omitempty" maxItems:"100" doc:"Patterns such as *@example.com; others are skipped as filtered."`
	Default     bool      `json:"default,omitempty"`
	Track       track     `json:"track,omitzero" doc:"Of messages that do not say: nothing is tracked unless it is asked for."`
	Bounces     string    `json:"bounces,omitempty" maxLength:"320" doc:"The envelope sender of e-mail, such as b+KEY@bounce.example.org: KEY becomes a signed token of the item, by which POST /v1/bounces knows whose mail came back. Absent: the address of from."`
	DKIM        *newDKIM  `json:"dkim,omitempty" doc:"Of e-mail: each mail is signed. The relay may sign instead."`
}

type newDKIM struct {
	Domain   string `json:"domain" maxLength:"255" doc:"The one that the public key is published for, mostly that of from."`
	Selector string `json:"selector" maxLength:"63" doc:"The record's name is SELECTOR._domainkey.DOMAIN."`
	Key      string `json:"key,omitempty" maxLength:"20000" doc:"The private key as PEM, RSA (2048 bits) or Ed25519: sealed, never read back. Left out, the one that is kept stays."`
}

type newRetry struct {
	Attempts int    `json:"attempts,omitempty" minimum:"0" maximum:"100"`
	First    string `json:"first,omitempty" doc:"Such as 5s."`
	Most     string `json:"most,omitempty" doc:"Such as 1h."`
}

// ProviderPath names a provider.
type ProviderPath struct {
	Name string `path:"name"`
}

type providerIn struct {
	ProviderPath
	Body providerBody
}

type providerRateIn struct {
	ProviderPath
	Body struct {
		PerSecond *float64 `json:"per_second" nullable:"true" minimum:"0" maximum:"10000000"`
	}
}

type tryView struct {
	OK     bool   `json:"ok"`
	Step   string `json:"step" doc:"Where it failed: connect, greeting, starttls, auth, …"`
	Detail string `json:"detail"`
}

func (s *Server) providerRoutes() {
	const at = "/v1/providers/{name}"
	route(s, operation{method: http.MethodGet, path: "/v1/providers", id: "list-providers", tag: "providers", scope: scopeMessagesRead, summary: "List providers"}, s.listProviders)
	route(s, operation{method: http.MethodGet, path: at, id: "get-provider", tag: "providers", scope: scopeMessagesRead, summary: "Read a provider"},
		func(ctx context.Context, _ *call, in *ProviderPath) (*reply[providerView], error) {
			p, err := s.provider(ctx, in.Name)
			return ok(s.viewProvider(p)), err
		})
	route(s, operation{method: http.MethodPut, path: at, id: "put-provider", tag: "providers", scope: scopeProvidersWrite, also: http.StatusCreated, summary: "Create or replace a provider",
		doc: "Secrets are sealed and never read back. One that stands in the configuration file answers 409."}, s.putProvider)
	routeNone(s, operation{method: http.MethodDelete, path: at, id: "delete-provider", tag: "providers", scope: scopeProvidersWrite, summary: "Delete a provider"}, s.deleteProvider)
	route(s, operation{method: http.MethodPost, path: at + "/test", id: "test-provider", tag: "providers", scope: scopeProvidersWrite, summary: "Connect and sign in, without sending"}, s.tryProvider)
	route(s, operation{method: http.MethodPost, path: at + "/rate", id: "rate-provider", tag: "providers", scope: scopeProvidersWrite, keyed: true, summary: "Change a provider's rate, also while sending"}, s.rateProvider)
}

func (s *Server) viewProvider(p fanfare.Provider) providerView {
	v := providerView{Name: p.Name, Channel: string(p.Channel), From: p.From, Connections: p.Connections, Chunk: p.Chunk, Timeout: p.Timeout.String(),
		Retry: retryView{p.Retry.Attempts, p.Retry.First.String(), p.Retry.Most.String()}, OnlyTo: append([]string{}, p.OnlyTo...), Default: p.Default, Track: track(p.Track), Bounces: p.Bounces}
	v.URL, v.HasPassword = withoutPassword(p.URL)
	if d := p.DKIM; d != (fanfare.DKIM{}) {
		v.DKIM = &dkimView{Domain: d.Domain, Selector: d.Selector}
		v.DKIM.Record, v.DKIM.Value, _ = s.Providers.DKIMRecord(d) // it was read when it was put
	}
	if p.Rate > 0 {
		v.Rate = &p.Rate
	}
	if p.Name != "" {
		v.Fixed = s.Providers.Fixed(p.Name)
	}
	return v
}

// withoutPassword takes the secret out of a URL. One that cannot be read is not shown at all.
func withoutPassword(raw string) (shown string, had bool) {
	if !strings.Contains(raw, "@") {
		return raw, false
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "", true
	}
	if u.User != nil {
		_, had = u.User.Password()
		u.User = url.User(u.User.Username())
	}
	return u.String(), had
}

// provider finds one, with its secrets.
func (s *Server) provider(ctx context.Context, name string) (fanfare.Provider, error) {
	all, err := s.Providers.All(ctx)
	for _, p := range all {
		if p.Name == name {
			return p, nil
		}
	}
	if err != nil {
		return fanfare.Provider{}, err
	}
	return fanfare.Provider{}, notFound("provider", name)
}

func (s *Server) listProviders(ctx context.Context, _ *call, in *Page) (*reply[list[providerView]], error) {
	all, err := s.Providers.All(ctx)
	if err != nil && len(all) == 0 {
		return nil, err
	}
	views := make([]providerView, 0, len(all))
	next := ""
	for _, p := range all { // by name, which is the cursor
		if in.Cursor != "" && p.Name <= in.Cursor {
			continue
		}
		if len(views) == in.Limit {
			next = views[len(views)-1].Name
			break
		}
		views = append(views, s.viewProvider(p))
	}
	return ok(listOf(views, next)), nil
}

func (s *Server) changeable(name string) error {
	if s.Providers.Fixed(name) {
		return conflict("provider_fixed", "Provider %q stands in the configuration file; change it there and restart.", name)
	}
	if _, reserved := IsTestProvider(name); reserved {
		return invalid("#", "invalid", "names that begin with %s are for the sandbox of test keys; choose another", testPrefix)
	}
	return checkName("#", name)
}

func (s *Server) putProvider(ctx context.Context, c *call, in *providerIn) (*reply[providerView], error) {
	if err := s.changeable(in.Name); err != nil {
		return nil, err
	}
	old, err := s.provider(ctx, in.Name)
	there := err == nil
	if err != nil && statusOf(err) != http.StatusNotFound {
		s.Log.Warn("a provider that cannot be opened is replaced", "request", c.request, "error", err)
	}
	p, err := in.Body.provider(in.Name, old)
	if err != nil {
		return nil, err
	}
	if err := s.Providers.Check(p); err != nil {
		return nil, invalid("#"+blame(err), "invalid", "%v", err)
	}
	if there && old.Channel != p.Channel {
		if err := s.unused(ctx, in.Name); err != nil {
			return nil, err
		}
	}
	out, err := commit(ctx, c, func(tx fanfare.ControlTx) (*reply[providerView], error) {
		if err := s.reachable(tx, p); err != nil {
			return nil, err
		}
		if err := s.Providers.Put(tx, p); err != nil {
			return nil, err
		}
		r := ok(s.viewProvider(p))
		if !there {
			r.Status, r.Location = http.StatusCreated, "/v1/providers/"+url.PathEscape(in.Name)
		}
		return r, c.audit(tx, "provider.put", in.Name, in.Body.Channel)
	})
	if err == nil {
		s.Reload()
	}
	return out, err
}

// blame finds the field that a provider's error begins with, as in "provider mail: url: …"; empty: none.
func blame(err error) string {
	for _, field := range []string{"url", "from", "only_to", "timeout", "dkim", "bounces"} {
		if strings.Contains(err.Error(), ": "+field+" ") || strings.Contains(err.Error(), ": "+field+":") {
			return "/" + field
		}
	}
	return ""
}

func (b *providerBody) provider(name string, old fanfare.Provider) (fanfare.Provider, error) {
	p := fanfare.Provider{Name: name, Channel: fanfare.ChannelName(b.Channel), From: b.From, Connections: b.Connections, Chunk: b.Chunk, Rate: or(b.Rate, 0),
		OnlyTo: b.OnlyTo, Default: b.Default, Track: fanfare.Track(b.Track), Bounces: b.Bounces, Retry: fanfare.DefaultRetry()}
	if d := b.DKIM; d != nil {
		p.DKIM = fanfare.DKIM{Domain: d.Domain, Selector: d.Selector, Key: d.Key}
		if d.Key == "" {
			p.DKIM.Key = old.DKIM.Key
		}
	}
	var wrong []FieldDetail
	duration := func(to *time.Duration, at, text string) {
		if text == "" {
			return
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			wrong = append(wrong, FieldDetail{Pointer: at, Code: "invalid", Detail: "must be a duration, such as 60s, 5m or 1h"})
			return
		}
		*to = d
	}
	duration(&p.Timeout, "#/timeout", b.Timeout)
	if b.Retry != nil {
		if b.Retry.Attempts > 0 {
			p.Retry.Attempts = b.Retry.Attempts
		}
		duration(&p.Retry.First, "#/retry/first", b.Retry.First)
		duration(&p.Retry.Most, "#/retry/most", b.Retry.Most)
	}
	var err error
	if p.URL, err = withPassword(b.URL, b.Password, old.URL); err != nil {
		wrong = append(wrong, fieldsOf(err)...)
	}
	if len(wrong) > 0 {
		return p, refuse(wrong...)
	}
	return p, nil
}

// withPassword puts a password that comes apart, or the one that was kept for the same user and host, into a URL.
func withPassword(raw, password, old string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil {
		if password != "" {
			return "", invalid("#/password", "invalid", "the url names no user; write it like smtp://user@host:port")
		}
		return raw, nil
	}
	if _, there := u.User.Password(); there {
		if password != "" {
			return "", invalid("#/password", "several", "the url holds a password, too; leave one of them out")
		}
		return raw, nil
	}
	if password == "" {
		was, err := url.Parse(old)
		if err != nil || was.User == nil || was.User.Username() != u.User.Username() || was.Host != u.Host {
			return raw, nil
		}
		password, _ = was.User.Password()
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return u.String(), nil
}

// unused refuses while a message that is not finished goes by the provider.
func (s *Server) unused(ctx context.Context, name string) error {
	return s.Store.View(ctx, func(v fanfare.ControlView) error {
		return unfinished(v, func(m *fanfare.Message) error {
			if m.Provider == name {
				return conflict("in_use", "Message %s (%s) goes by this provider; give it another one, or cancel it.", m.ID, m.Phase)
			}
			return nil
		})
	})
}

// reachable refuses settings that would take mail of messages that were started already off this machine without links that work: a start
// looks at the provider once.
func (s *Server) reachable(v fanfare.ControlView, p fanfare.Provider) error {
	if !s.unlinked(p) {
		return nil
	}
	return unfinished(v, func(m *fanfare.Message) error {
		if m.Provider != p.Name || m.Channel != fanfare.ChannelEmail || m.Phase == fanfare.PhaseCancelling {
			return nil
		}
		return conflict("public_url_missing", "Message %s (%s) goes by this provider, and with this url its mail would leave this machine with links to unsubscribe that lead nowhere: start the server with --public-url https://…, where recipients reach it; or cancel the message, or put this provider under another name.", m.ID, m.Phase)
	})
}

func (s *Server) deleteProvider(ctx context.Context, c *call, in *ProviderPath) error {
	if err := s.changeable(in.Name); err != nil {
		return err
	}
	if err := s.unused(ctx, in.Name); err != nil {
		return err
	}
	err := s.Store.Update(ctx, func(tx fanfare.ControlTx) error {
		if err := tx.DeleteProvider(in.Name); err != nil {
			return missing(err, "provider", in.Name)
		}
		return c.audit(tx, "provider.delete", in.Name, "")
	})
	if err == nil {
		s.Reload()
	}
	return err
}

// tryTime is how long a provider may take to let somebody in.
const tryTime = 30 * time.Second

func (s *Server) tryProvider(ctx context.Context, _ *call, in *ProviderPath) (*reply[tryView], error) {
	p, err := s.provider(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, tryTime)
	defer stop()
	err = s.Providers.Try(ctx, p)
	var failed *fanfare.SendError
	switch {
	case errors.As(err, &failed):
		return ok(tryView{Step: failed.Step, Detail: fanfare.CleanText(failed.Error())}), nil
	case err != nil:
		return nil, err
	}
	return ok(tryView{OK: true}), nil
}

func (s *Server) rateProvider(ctx context.Context, c *call, in *providerRateIn) (*reply[providerView], error) {
	if err := s.changeable(in.Name); err != nil {
		return nil, err
	}
	p, err := s.provider(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	p.Rate = or(in.Body.PerSecond, 0)
	out, err := commit(ctx, c, func(tx fanfare.ControlTx) (*reply[providerView], error) {
		if err := s.Providers.Put(tx, p); err != nil {
			return nil, err
		}
		return ok(s.viewProvider(p)), c.audit(tx, "provider.rate", in.Name, strconv.FormatFloat(p.Rate, 'g', -1, 64))
	})
	if err == nil {
		s.Reload()
	}
	return out, err
}
