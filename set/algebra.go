package set

import "github.com/RoaringBitmap/roaring/v2"

// Union makes all members of other members of s too.
func (s *Set) Union(other *Set) {
	if s != other {
		s.b.Or(&other.b)
	}
}

// Intersect leaves only what is in other too.
func (s *Set) Intersect(other *Set) {
	if s != other {
		s.b.And(&other.b)
	}
}

// Subtract takes all members of other out of s.
func (s *Set) Subtract(other *Set) {
	if s == other {
		s.Clear()
		return
	}
	s.b.AndNot(&other.b)
}

// Complement gives what is in universe and not in s, as a new set.
func (s *Set) Complement(universe *Set) *Set { return AndNot(universe, s) }

// Or gives what is in a or b, as a new set.
func Or(a, b *Set) *Set { return wrap(roaring.Or(&a.b, &b.b)) }

// And gives what is in a and b, as a new set.
func And(a, b *Set) *Set { return wrap(roaring.And(&a.b, &b.b)) }

// AndNot gives what is in a and not in b, as a new set.
func AndNot(a, b *Set) *Set { return wrap(roaring.AndNot(&a.b, &b.b)) }

// AndLen is the number of members of And(a, b), counted without making it.
func AndLen(a, b *Set) int { return int(a.b.AndCardinality(&b.b)) } //nolint:gosec // at most Universe

// OrLen is the number of members of Or(a, b), counted without making it.
func OrLen(a, b *Set) int { return int(a.b.OrCardinality(&b.b)) } //nolint:gosec // at most Universe

// AndNotLen is the number of members of AndNot(a, b), counted without making it.
func AndNotLen(a, b *Set) int { return a.Len() - AndLen(a, b) }

// Overlap says whether a and b have a member in common. It stops at the first.
func Overlap(a, b *Set) bool { return a.b.Intersects(&b.b) }
