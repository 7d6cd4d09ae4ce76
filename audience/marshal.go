package audience

import "encoding/json"

// The canonical JSON has no spaces and names the kind first, then what belongs to it.

// MarshalJSON gives the canonical JSON.
func (All) MarshalJSON() ([]byte, error) { return []byte(`{"all":true}`), nil }

// MarshalJSON gives the canonical JSON.
func (l List) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		List string `json:"list"`
	}{l.Name})
}

// MarshalJSON gives the canonical JSON.
func (s Segment) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Segment string `json:"segment"`
	}{s.Name})
}

// MarshalJSON gives the canonical JSON.
func (r Recipients) MarshalJSON() ([]byte, error) {
	out := struct {
		Recipients []string `json:"recipients"`
		Unknown    string   `json:"unknown,omitempty"`
	}{Recipients: r.IDs}
	if out.Recipients == nil {
		out.Recipients = []string{}
	}
	if r.SkipUnknown {
		out.Unknown = skip
	}
	return json.Marshal(out)
}

// MarshalJSON gives the canonical JSON.
func (m Message) MarshalJSON() ([]byte, error) {
	key, value := m.Receipt, any(m.Is)
	switch {
	case m.Result != "":
		key, value = "result", m.Result
	case m.Reason != "":
		key, value = "reason", m.Reason
	}
	return object("message", m.ID, key, value)
}

// MarshalJSON gives the canonical JSON.
func (a Attribute) MarshalJSON() ([]byte, error) {
	var value any = a.Values
	switch {
	case a.Op == In && a.Values == nil:
		value = []Value{}
	case a.Op != In && len(a.Values) == 1:
		value = a.Values[0]
	}
	return object("attribute", a.Name, string(a.Op), value)
}

// MarshalJSON gives the value as it stands in a condition.
func (v Value) MarshalJSON() ([]byte, error) {
	if v.Kind == Number || v.Kind == Bool {
		return []byte(v.Text), nil
	}
	return json.Marshal(v.Text)
}

// MarshalJSON gives the canonical JSON.
func (a Any) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Any []Expr `json:"any"`
	}{a.Parts})
}

// MarshalJSON gives the canonical JSON.
func (e Every) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Every []Expr `json:"every"`
	}{e.Parts})
}

// MarshalJSON gives the canonical JSON.
func (n Not) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Not Expr `json:"not"`
	}{n.Part})
}

// object gives {kind: name, key: value}.
func object(kind, name, key string, value any) ([]byte, error) {
	n, err := json.Marshal(name)
	if err != nil {
		return nil, err
	}
	k, err := json.Marshal(key)
	if err != nil {
		return nil, err
	}
	v, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	out := append([]byte(`{"`+kind+`":`), n...)
	out = append(append(out, ','), k...)
	out = append(append(out, ':'), v...)
	return append(out, '}'), nil
}
