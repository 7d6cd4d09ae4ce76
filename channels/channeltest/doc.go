// Package channeltest is the contract of fanfare.Channel as a suite: every driver runs it, against as many real servers as it has.
//
//	channeltest.Run(t, features, func(t *testing.T, trouble channeltest.Trouble) channeltest.Backend { … })
//
// A backend is a channel, a provider that works and a way to see what the provider got. Run opens one for each test, and asks it to
// make the provider misbehave in one of the ways of Fault. What a backend cannot do is a field of Features, not a skip.
//
// What the suite holds every driver to: each item is answered exactly once, in time and truthfully (who is sent arrived once, who is
// not begun or refused did not arrive, only who may have arrived is unknown); nothing leaves without a permission or after the first
// no; an item has the same key in each attempt; no value of a recipient changes what surrounds it; connections do not disturb each
// other, and nothing is left running.
package channeltest
