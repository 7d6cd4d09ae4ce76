package mysql

import (
	"slices"
	"testing"
)

func TestPositions(t *testing.T) {
	for _, c := range []struct {
		text, plain string
		order       []int
	}{
		{"a = ? AND b = ?", "a = ? AND b = ?", nil},
		{"VALUES (?1, ?, ?), (?1, ?, ?)", "VALUES (?, ?, ?), (?, ?, ?)", []int{0, 1, 2, 0, 3, 4}},
		{"a > ?1 OR a = ?1 AND b > ?2 LIMIT ?3", "a > ? OR a = ? AND b > ? LIMIT ?", []int{0, 0, 1, 2}},
		{"no value", "no value", nil},
	} {
		if plain, order := positions(c.text); plain != c.plain || !slices.Equal(order, c.order) {
			t.Errorf("%s: %s %v", c.text, plain, order)
		}
	}
}

func TestLists(t *testing.T) {
	const text = "WITH want (a, b) AS (VALUES (?, ?), (?, ?)) SELECT 1"
	if got := (&connection{maria: true}).list(text); got != text {
		t.Error(got)
	}
	if got := (&connection{}).list(text); got != "WITH want (a, b) AS (SELECT ?, ? UNION ALL SELECT ?, ?) SELECT 1" {
		t.Error(got)
	}
}

func TestVersions(t *testing.T) {
	for version, enough := range map[string]bool{"10.11.19-MariaDB-0+deb12u1": true, "11.4.5-MariaDB": true, "10.6.1-MariaDB": false, "5.7.1": false, "": false} {
		if atLeast(version, 10, 11) != enough {
			t.Error(version)
		}
	}
}
