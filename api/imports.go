package api

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"fanfare"
)

type importView struct {
	ID         string    `json:"id"`
	State      string    `json:"state" enum:"queued,running,held,done,failed,cancelled"`
	Detail     string    `json:"detail" doc:"Why it failed or is held, and what to do."`
	Waiting    *string   `json:"waiting" doc:"Why it does not go on just now, such as a full disk; it goes on by itself when it can."`
	List       string    `json:"list"`
	Rows       int64     `json:"rows"`
	Created    int64     `json:"created"`
	Updated    int64     `json:"updated"`
	Unchanged  int64     `json:"unchanged"`
	Duplicates int64     `json:"duplicates"`
	Failed     int64     `json:"failed"`
	CreatedAt  time.Time `json:"created_at"`
	UpdatedAt  time.Time `json:"updated_at"`
}

func (s *Server) viewImport(i fanfare.Import) importView {
	v := importView{ID: i.ID, State: string(i.State), Detail: i.Detail, List: i.List, Rows: i.Rows, Created: i.Created, Updated: i.Updated, Unchanged: i.Unchanged,
		Duplicates: i.Duplicates, Failed: i.Failed, CreatedAt: i.CreatedAt, UpdatedAt: i.UpdatedAt}
	if i.State == fanfare.ImportQueued || i.State == fanfare.ImportRunning {
		v.Waiting = text(s.Imports.Waiting(i))
	}
	return v
}

type importIn struct {
	List    string `query:"list" doc:"Everybody in the file joins this list; it is made if it is missing."`
	Mode    string `query:"mode" enum:"upsert,insert" default:"upsert" doc:"insert refuses recipients that are there."`
	Members string `query:"members" enum:"add,replace" default:"add" doc:"replace: who is not in the file leaves the list."`
	Map     string `query:"map" doc:"Names of columns: 用户ID:external_id,邮箱:email"`
	Empty   string `query:"empty" enum:"keep,remove" default:"keep" doc:"remove: an empty cell removes the attribute."`
}

type importPath struct {
	ID string `path:"id"`
}

func (s *Server) importRoutes() {
	const at = "/v1/imports/{id}"
	file := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	route(s, operation{method: http.MethodPost, path: "/v1/imports", id: "create-import", tag: "recipients", scope: scopeRecipientsWrite, status: http.StatusAccepted, keyed: true, stream: true,
		summary: "Import recipients from CSV or NDJSON", doc: "The body may be gzip and of any size. 202 is answered when all of it is on disk: from then on a restart loses nothing.",
		body: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"text/csv": file, "application/x-ndjson": file}}}, s.createImport)
	route(s, operation{method: http.MethodGet, path: "/v1/imports", id: "list-imports", tag: "recipients", scope: scopeRecipientsRead, summary: "List imports"}, s.listImports)
	route(s, operation{method: http.MethodGet, path: at, id: "get-import", tag: "recipients", scope: scopeRecipientsRead, summary: "Read an import"},
		func(ctx context.Context, _ *call, in *importPath) (*reply[importView], error) {
			i, err := s.readImport(ctx, in.ID)
			return ok(s.viewImport(i)), err
		})
	routeStream(s, operation{method: http.MethodGet, path: at + "/errors", id: "get-import-errors", tag: "recipients", scope: scopeRecipientsRead, summary: "The refused rows, as CSV: line, reason",
		produces: map[string]*huma.MediaType{"text/csv": file}}, s.importErrors)
	route(s, operation{method: http.MethodPost, path: at + "/confirm", id: "confirm-import", tag: "recipients", scope: scopeRecipientsWrite, keyed: true, summary: "Let a held import replace its list's members"},
		func(ctx context.Context, c *call, in *importPath) (*reply[importView], error) {
			return s.decideImport(ctx, c, in.ID, "import.confirm", s.Imports.Confirm)
		})
	route(s, operation{method: http.MethodPost, path: at + "/cancel", id: "cancel-import", tag: "recipients", scope: scopeRecipientsWrite, keyed: true, summary: "Stop an import; what is stored stays"},
		func(ctx context.Context, c *call, in *importPath) (*reply[importView], error) {
			return s.decideImport(ctx, c, in.ID, "import.cancel", s.Imports.Cancel)
		})
}

func (s *Server) createImport(ctx context.Context, c *call, in *importIn) (out *reply[importView], err error) {
	o := ImportOptions{List: in.List, EmptyRemove: in.Empty == "remove", Insert: in.Mode == "insert", Replace: in.Members == "replace"}
	if o.NDJSON, err = isNDJSON(c.http.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	switch {
	case o.List != "":
		if err := checkName("?list", o.List); err != nil {
			return nil, err
		}
	case o.Replace:
		return nil, refuse(FieldDetail{Parameter: "members", Code: "invalid", Detail: "members=replace needs list=NAME: whose members are replaced?"})
	}
	return s.accept(ctx, c, o, in.Map)
}

// accept takes the body of an import.
func (s *Server) accept(ctx context.Context, c *call, o ImportOptions, names string) (out *reply[importView], err error) {
	if kind := c.http.Header.Get("Content-Encoding"); kind != "" && kind != "gzip" && kind != "identity" {
		return nil, problem(http.StatusUnsupportedMediaType, "encoding", "Content-Encoding %q is not read; send the file as it is, or gzip.", kind)
	}
	if o.Map, err = columns(names); err != nil {
		return nil, err
	}
	_, err = s.Imports.Accept(ctx, body{c.http.Body}, o, func(tx fanfare.ControlTx, i fanfare.Import) error {
		out = &reply[importView]{Status: http.StatusAccepted, Location: "/v1/imports/" + i.ID, Body: s.viewImport(i)}
		if err := c.audit(tx, "import.create", i.ID, i.List); err != nil {
			return err
		}
		return keep(c, tx, out)
	})
	var broken *bodyError
	if errors.As(err, &broken) {
		p := problem(http.StatusBadRequest, "broken_body", "The body broke off, and nothing of it was kept; send it again.")
		p.cause = err
		return nil, p
	}
	return out, err
}

// body tells a failure to read from the client from one to write to the disk.
type body struct{ io.Reader }

type bodyError struct{ error }

func (b body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &bodyError{err}
	}
	return n, err
}

func isNDJSON(kind string) (bool, error) {
	media, _, err := mime.ParseMediaType(kind)
	switch {
	case err == nil && slices.Contains([]string{"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}, media):
		return true, nil
	case err == nil && slices.Contains([]string{"text/csv", "application/csv"}, media):
		return false, nil
	}
	return false, problem(http.StatusUnsupportedMediaType, "media_type", "Say what the file is by Content-Type: text/csv or application/x-ndjson.")
}

// columns reads names of columns: A:external_id,B:email.
func columns(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	out := make(map[string]string)
	for pair := range strings.SplitSeq(text, ",") {
		at := strings.LastIndexByte(pair, ':')
		if at <= 0 || at == len(pair)-1 {
			return nil, refuse(FieldDetail{Parameter: "map", Code: "invalid", Detail: "write it like 用户ID:external_id,邮箱:email; a name in the file, a colon, the name here"})
		}
		out[pair[:at]] = pair[at+1:]
	}
	return out, nil
}

func (s *Server) readImport(ctx context.Context, id string) (i fanfare.Import, err error) {
	err = s.Store.View(ctx, func(v fanfare.ControlView) error {
		i, err = v.Import(id)
		return err
	})
	return i, missing(err, "import", id)
}

func (s *Server) listImports(ctx context.Context, _ *call, in *Page) (*reply[list[importView]], error) {
	var all []fanfare.Import
	err := s.Store.View(ctx, func(v fanfare.ControlView) (err error) {
		all, err = v.Imports()
		return err
	})
	if err != nil {
		return nil, err
	}
	all, next, err := pageOf(all, in, func(i fanfare.Import) string { return i.ID })
	if err != nil {
		return nil, err
	}
	views := make([]importView, len(all))
	for i := range all {
		views[i] = s.viewImport(all[i])
	}
	return ok(listOf(views, next)), nil
}

func (s *Server) importErrors(ctx context.Context, _ *call, in *importPath) (func(http.ResponseWriter), error) {
	i, err := s.readImport(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	f, err := s.Imports.Refused(i)
	if errors.Is(err, fanfare.ErrElsewhere) {
		return nil, conflict("elsewhere", "%v; ask that node for the refused rows.", err)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		if err != nil { // none was refused
			_, _ = io.WriteString(w, "line,reason\n")
			return
		}
		defer f.Close() //nolint:errcheck // only read
		_, _ = io.Copy(w, f)
	}, nil
}

func (s *Server) decideImport(ctx context.Context, c *call, id, action string, decide func(context.Context, string) (fanfare.Import, error)) (*reply[importView], error) {
	i, err := decide(ctx, id)
	if err != nil {
		return nil, missing(err, "import", id)
	}
	return commit(ctx, c, func(tx fanfare.ControlTx) (*reply[importView], error) {
		return ok(s.viewImport(i)), c.audit(tx, action, id, "")
	})
}
