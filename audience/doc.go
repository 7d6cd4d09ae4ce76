// Package audience is the audience language: who is meant by a message, a segment or a count.
//
//	{"every": [{"list": "vip"}, {"not": {"message": "ID", "read": true}}]}
//
// [Parse] turns untrusted JSON into an [Expr] or into [Problems]: everything that is wrong, each with a pointer to it and what to do.
// An Expr marshals to one canonical JSON; parsing that gives the same Expr again. [Eval] evaluates an expression for one slot
// with the sets of a [Source]; every expression is taken within alive, so `not` never yields somebody who is gone.
//
// What a condition on an attribute means is [Attribute.Matches]; [Key] puts numbers and times in order for whoever answers by sets.
//
// The package knows the language and the algebra. What a list is called inside, who has read a message and which names exist is the
// source's business: see [Leaves] and [LeavesAt] for asking in advance.
package audience
