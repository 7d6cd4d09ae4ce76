package serve

import (
	"fmt"
	"io"
	"log/slog"

	"fanfare"
)

// NewLog makes the structured log: format text or json, level debug, info, warn or error.
func NewLog(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("%w: log level %q; there are debug, info, warn and error", fanfare.ErrUsage, level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("%w: log format %q; there are text and json", fanfare.ErrUsage, format)
}
