package providers

import (
	"strings"
	"testing"
)

func TestSealed(t *testing.T) {
	b, err := New(nil, make([]byte, 32), nil)
	if err != nil {
		t.Fatal(err)
	}
	const secret = "smtp://me:pass@mail.example:587"
	s := b.Seal("mail", secret)
	if strings.Contains(s, "pass") {
		t.Fatalf("not sealed: %s", s)
	}
	if got, err := b.Open("mail", s); err != nil || got != secret {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := b.Open("other", s); err == nil {
		t.Error("a seal of one provider opened for another")
	}
	other, _ := New(nil, []byte(strings.Repeat("k", 32)), nil)
	if _, err := other.Open("mail", s); err == nil || !strings.Contains(err.Error(), "master.key") {
		t.Errorf("another key: %v", err)
	}
	if got := Hide(secret); strings.Contains(got, "pass") || !strings.Contains(got, "mail.example") {
		t.Errorf("hidden: %s", got)
	}
}
