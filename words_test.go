package fanfare_test

import (
	"slices"
	"testing"

	"fanfare"
	"fanfare/audience"
)

// The audience language is a leaf and repeats the words for results: they must be the same words.
func TestAudienceSpeaksTheSameWords(t *testing.T) {
	var results []string
	for _, r := range fanfare.Results() {
		results = append(results, string(r))
	}
	for _, r := range audience.Results() {
		if !slices.Contains(results, string(r)) {
			t.Errorf("audience says %q, the glossary has %q", r, results)
		}
	}
}
