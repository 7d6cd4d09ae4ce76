package audience

import (
	"context"
	"errors"
	"fmt"

	"fanfare/set"
)

// Source gives the sets of one slot. They may be shared caches: Eval never changes them and never lets them out. A set may hold
// people who are not alive; nil is an empty set. Different evaluations may use one source at a time if the source allows it.
type Source interface {
	// Alive is who exists and is not erased.
	Alive(ctx context.Context) (*set.Set, error)
	// Leaf is who a leaf other than All means. A leaf that occurs twice is asked for twice.
	Leaf(ctx context.Context, leaf Expr) (*set.Set, error)
}

// Eval gives whom e means in the slot of src, within alive. The set belongs to the caller. An error of the source is
// wrapped with the leaf; parts that can change nothing any more are not asked for.
func Eval(ctx context.Context, e Expr, src Source) (*set.Set, error) {
	alive, err := src.Alive(ctx)
	if err != nil {
		return nil, fmt.Errorf("audience: who is alive: %w", err)
	}
	if alive == nil {
		return set.New(), nil
	}
	v := evaluation{src: src, alive: alive}
	r, err := v.eval(ctx, e)
	if err != nil {
		return nil, err
	}
	// Once at the end is enough: union and intersection do not care when it is done, and not starts from alive.
	r.intersect(alive)
	if !r.own {
		return r.s.Clone(), nil
	}
	return r.s, nil
}

type evaluation struct {
	src   Source
	alive *set.Set
}

// result is a set that may be changed only if it is our own. Its methods make it so where they must.
type result struct {
	s   *set.Set
	own bool
}

func (r *result) union(o *set.Set) {
	if !r.own {
		*r = result{set.Or(r.s, o), true}
		return
	}
	r.s.Union(o)
}

func (r *result) intersect(o *set.Set) {
	switch {
	case r.s == o:
	case r.own:
		r.s.Intersect(o)
	default:
		*r = result{set.And(r.s, o), true}
	}
}

func (r *result) subtract(o *set.Set) {
	if !r.own {
		*r = result{set.AndNot(r.s, o), true}
		return
	}
	r.s.Subtract(o)
}

func (v evaluation) eval(ctx context.Context, e Expr) (result, error) {
	switch e := e.(type) {
	case nil:
		return result{}, errors.New("audience: an expression is missing")
	case All:
		return result{s: v.alive}, nil
	case Any:
		return v.any(ctx, e.Parts)
	case Every:
		return v.every(ctx, e.Parts)
	case Not:
		return v.every(ctx, []Expr{e})
	default:
		return v.leaf(ctx, e)
	}
}

func (v evaluation) leaf(ctx context.Context, e Expr) (result, error) {
	if err := ctx.Err(); err != nil {
		return result{}, err
	}
	s, err := v.src.Leaf(ctx, e)
	if err != nil {
		return result{}, fmt.Errorf("audience %s: %w", describe(e), err)
	}
	if s == nil {
		return result{s: set.New(), own: true}, nil
	}
	return result{s: s}, nil
}

func (v evaluation) any(ctx context.Context, parts []Expr) (result, error) {
	var sum result
	for i, p := range parts {
		r, err := v.eval(ctx, p)
		if err != nil {
			return result{}, err
		}
		switch {
		case r.s == v.alive: // no other part can add anybody
			return r, nil
		case i == 0:
			sum = r
		case r.own && !sum.own: // the union goes into the one that may be changed
			r.union(sum.s)
			sum = r
		default:
			sum.union(r.s)
		}
	}
	if sum.s == nil {
		return result{}, errors.New("audience: any without parts")
	}
	return sum, nil
}

// every intersects the plain parts, then takes away what the nots exclude: no complement is ever made.
func (v evaluation) every(ctx context.Context, parts []Expr) (result, error) {
	if len(parts) == 0 {
		return result{}, errors.New("audience: every without parts")
	}
	product := result{s: v.alive}
	var less []Expr
	for _, p := range parts {
		if n, ok := p.(Not); ok {
			less = append(less, n.Part)
			continue
		}
		r, err := v.eval(ctx, p)
		if err != nil {
			return result{}, err
		}
		switch {
		case product.s == v.alive:
			product = r // alive is taken at the end, see Eval
		case r.own && !product.own:
			r.intersect(product.s)
			product = r
		default:
			product.intersect(r.s)
		}
		if product.s.Empty() {
			return product, nil
		}
	}
	for _, p := range less {
		r, err := v.eval(ctx, p)
		if err != nil {
			return result{}, err
		}
		product.subtract(r.s)
		if product.s.Empty() {
			break
		}
	}
	return product, nil
}

// describe names a leaf in errors.
func describe(e Expr) string {
	switch e := e.(type) {
	case List:
		return "list " + quote(e.Name)
	case Segment:
		return "segment " + quote(e.Name)
	case Message:
		return "message " + quote(e.ID)
	case Attribute:
		return "attribute " + quote(e.Name)
	case Recipients:
		return fmt.Sprintf("%d recipients", len(e.IDs))
	default:
		return string(e.Kind())
	}
}
