package merge

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// OfJSON reads a value, as data and metadata are given; nothing is the zero Value. Numbers keep their digits.
func OfJSON(raw []byte) (Value, error) {
	if len(raw) == 0 {
		return Value{}, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is more behind it")
		}
	}
	if err != nil {
		return Value{}, err
	}
	return Of(v), nil
}
