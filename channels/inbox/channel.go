package inbox

import (
	"context"
	"errors"
	"fmt"

	"fanfare"
)

// Channel is the inbox channel.
type Channel struct{}

// New gives the inbox channel.
func New() *Channel { return &Channel{} }

// Name implements fanfare.Channel.
func (*Channel) Name() fanfare.ChannelName { return fanfare.ChannelInbox }

// Features implements fanfare.Channel.
func (*Channel) Features() fanfare.ChannelFeatures {
	return fanfare.ChannelFeatures{Inline: true, Chunk: 1, Connections: 1}
}

// Check implements fanfare.Channel: there is nothing to reach.
func (*Channel) Check(p fanfare.Provider) error {
	return fmt.Errorf("provider %s: %w", p.Name, errNoProvider)
}

// Address implements fanfare.Channel: everybody has an inbox.
func (*Channel) Address(*fanfare.Recipient) (string, fanfare.Reason) { return "", "" }

// Dial implements fanfare.Channel. Nobody dials what its claims deliver.
func (*Channel) Dial(context.Context, fanfare.Provider) (fanfare.Connection, error) {
	return nil, &fanfare.SendError{Step: "connect", Err: errNoProvider}
}

var errNoProvider = errors.New("the inbox needs no provider; leave it out")
