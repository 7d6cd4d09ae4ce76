// Package sharded is a fanfare.Store that wraps stores: the slots of an installation lie on several databases, the control tables on the first.
// It knows no database; any mix of drivers will do that are a fanfare.Shard.
//
// What belongs to a slot goes to the shard of the slot, what concerns many slots to all their shards at once, everything else to the first. A
// shard that cannot be reached keeps no other from its part. Where a slot lies says the slot map on the first shard; every process keeps a copy,
// which may be old, because the shards themselves refuse what is not theirs.
package sharded
