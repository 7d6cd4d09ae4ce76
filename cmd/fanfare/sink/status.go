package sink

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Message is a message kept whole.
type Message struct {
	At   time.Time `json:"at"`
	From string    `json:"from"`
	To   []string  `json:"to"`
	Raw  string    `json:"raw"` // header and body as they were sent, dots unstuffed
}

// kept is a ring of the last messages.
type kept struct {
	mu   sync.Mutex
	ring []Message
	raw  [][]byte // stuffed, one buffer a place
	to   [][]byte
	next int
	n    int
}

// maxKept is how much of one message is kept.
const maxKept = 256 << 10

func (k *kept) add(x *session, body []byte) {
	if len(k.ring) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.raw == nil {
		k.raw, k.to = make([][]byte, len(k.ring)), make([][]byte, len(k.ring))
	}
	i := k.next
	k.next = (i + 1) % len(k.ring)
	k.n = min(k.n+1, len(k.ring))
	k.raw[i] = append(k.raw[i][:0], body[:min(len(body), maxKept)]...)
	k.to[i] = append(append(k.to[i][:0], x.from...), '\n')
	for _, to := range x.rcpts[:min(len(x.rcpts), 20)] {
		k.to[i] = append(append(k.to[i], to...), '\n')
	}
	k.ring[i].At = x.at
}

// Messages gives the last messages that are kept whole, newest first.
func (s *Server) Messages(limit int) []Message {
	k := &s.kept
	k.mu.Lock()
	defer k.mu.Unlock()
	out := []Message{}
	for j := range min(limit, k.n) {
		i := (k.next - 1 - j + 2*len(k.ring)) % len(k.ring)
		m := k.ring[i]
		who := strings.Split(strings.TrimSuffix(string(k.to[i]), "\n"), "\n")
		m.From, m.To = who[0], slices.Clone(who[1:])
		m.Raw = string(unstuff(k.raw[i]))
		out = append(out, m)
	}
	return out
}

func unstuff(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\r\n.."), []byte("\r\n."))
	return bytes.TrimPrefix(b, []byte{'.'})
}

// Handler serves the status pages: GET / for a person, /counts, /duplicates, /messages?limit= (JSON), /ledger (tab-separated), and
// POST /mode {"down":bool,"answer_421":bool}.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.Counts()) })
	mux.HandleFunc("GET /duplicates", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, append([]Dup{}, s.Duplicates()...))
	})
	mux.HandleFunc("GET /messages", func(w http.ResponseWriter, r *http.Request) {
		limit, err := strconv.Atoi(r.FormValue("limit"))
		if err != nil || limit < 0 {
			limit = defaultKeep
		}
		answer(w, s.Messages(limit))
	})
	mux.HandleFunc("GET /ledger", s.writeLedger)
	mux.HandleFunc("POST /mode", s.setMode)
	return http.NewCrossOriginProtection().Handler(mux)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the reader is gone: nobody to tell
}

func (s *Server) setMode(w http.ResponseWriter, r *http.Request) {
	var mode struct {
		Down      *bool `json:"down"`
		Answer421 *bool `json:"answer_421"`
	}
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10))
	in.DisallowUnknownFields()
	if err := in.Decode(&mode); err != nil {
		http.Error(w, `write {"down":true}, {"answer_421":true} or both: `+err.Error(), http.StatusBadRequest)
		return
	}
	if mode.Answer421 != nil {
		s.Answer421(*mode.Answer421)
	}
	if mode.Down != nil {
		if err := s.Down(*mode.Down); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
	}
	answer(w, s.Counts())
}

// writeLedger streams every address: address, copies, first and last MAIL FROM, Message-IDs joined by commas.
func (s *Server) writeLedger(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/tab-separated-values; charset=utf-8")
	out := bufio.NewWriter(w)
	defer func() { _ = out.Flush() }()
	fmt.Fprintln(out, "address\tcopies\tfirst_begun\tlast_begun\tmessage_ids")
	for e := range s.Entries() {
		_, err := fmt.Fprintf(out, "%s\t%d\t%s\t%s\t%s\n", e.Address, e.Copies, e.First.UTC().Format(time.RFC3339Nano),
			e.Last.UTC().Format(time.RFC3339Nano), strings.ReplaceAll(strings.Join(e.MessageIDs, ","), "\t", " "))
		if err != nil {
			return
		}
	}
}

func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	c := s.Counts()
	fmt.Fprintf(w, "Fanfare sink on smtp://%s\n\nbegun            %d\naccepted         %d\naddresses        %d\nmore than one    %d\n"+
		"refused for good %d\nrefused for now  %d\nconnections      %d\ndown             %t\nanswers 421      %t\n",
		s.Addr(), c.Begun, c.Accepted, c.Recipients, c.Duplicates, c.RefusedForGood, c.RefusedForNow, c.Connections, c.Down, c.Answer421)
	for _, m := range s.Messages(defaultKeep) {
		fmt.Fprintf(w, "\n──── %s  from <%s>  to <%s>\n%s", m.At.Format(time.TimeOnly), m.From, strings.Join(m.To, ">, <"), m.Raw)
	}
}
