package serve

import (
	"fmt"
	"slices"

	"fanfare"
)

// The roles of a node.
const (
	roleAPI     = "api"     // the HTTP routes and the inbox
	rolePlanner = "planner" // plans, publishes, folds, indexes, purges, each under a lease of its own
	roleWorker  = "worker"  // claims and sends
)

func (c *Config) has(role string) bool { return slices.Contains(c.Roles, role) }

// moves says whether the node plans or sends.
func (c *Config) moves() bool { return moves(c.Roles) }

func moves(roles []string) bool {
	return slices.Contains(roles, rolePlanner) || slices.Contains(roles, roleWorker)
}

// checkRoles checks what roles are asked for. Where tasks reach this process only, who publishes them and who takes them are one.
func (c *Config) checkRoles(own bool) error {
	for _, r := range c.Roles {
		if r != roleAPI && r != rolePlanner && r != roleWorker {
			return fmt.Errorf("%w: --roles %s: there are api, planner and worker", fanfare.ErrUsage, r)
		}
	}
	switch {
	case len(c.Roles) == 0:
		return fmt.Errorf("%w: --roles: a node has at least one of api, planner and worker", fanfare.ErrUsage)
	case own && c.has(rolePlanner) != c.has(roleWorker):
		return fmt.Errorf("%w: --roles: the queue memory: reaches one process only, so planner and worker go together; name both, or give every node a queue that they share (--queue)", fanfare.ErrUsage)
	}
	slices.Sort(c.Roles)
	c.Roles = slices.Compact(c.Roles)
	return nil
}
