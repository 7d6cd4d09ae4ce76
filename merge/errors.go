package merge

import (
	"errors"
	"fmt"
)

// The kinds of error of a rendering.
var (
	ErrMissing        = errors.New("a value is missing")
	ErrTooManySteps   = errors.New("the template takes too many steps; shorten its loops or lists")
	ErrOutputTooLarge = errors.New("the template's output is too large; shorten it or its values")
)

// MissingError says which value a person has not. errors.Is(err, ErrMissing) holds.
type MissingError struct {
	Path string // as written in the template: "first_name", "data.items[0].name"
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is missing; give it a default: {{ %s | default: \"…\" }}", e.Path, e.Path)
}

func (e *MissingError) Unwrap() error { return ErrMissing }

// SyntaxError says what is wrong with a template, where, and what to do.
type SyntaxError struct {
	Line, Column int // from 1; columns count characters
	Message      string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}
