package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Where a partition's offsets are asked for.
const (
	latest   = -1
	earliest = -2
)

// lag counts what is published and not behind a committed offset.
func (q *Queue) lag(ctx context.Context, provider string) (n int, err error) {
	topics := q.topics(provider)
	ends, err := q.offsets(ctx, topics, latest)
	if err != nil {
		return 0, err
	}
	starts, err := q.offsets(ctx, topics, earliest)
	if err != nil {
		return 0, err
	}
	committed, err := q.committed(ctx, q.group(provider))
	if err != nil {
		return 0, err
	}
	for p, end := range ends {
		from := starts[p]
		if c, there := committed[p]; there && c <= end { // else of a topic that is gone
			from = max(from, c)
		}
		n += int(max(0, end-from))
	}
	return n, nil
}

type place struct {
	topic     string
	partition int32
}

// offsets asks for the first or the next offset of all partitions; topics that are missing have none.
func (q *Queue) offsets(ctx context.Context, topics []string, which int64) (map[place]int64, error) {
	found := make(map[place]int64)
	about := kmsg.NewPtrMetadataRequest()
	for _, t := range topics {
		r := kmsg.NewMetadataRequestTopic()
		r.Topic = kmsg.StringPtr(t)
		about.Topics = append(about.Topics, r)
	}
	known, err := about.RequestWith(ctx, q.client)
	if err != nil {
		return nil, err
	}
	ask := kmsg.NewPtrListOffsetsRequest()
	for _, t := range known.Topics {
		if t.Topic == nil || kerr.ErrorForCode(t.ErrorCode) != nil {
			continue
		}
		r := kmsg.NewListOffsetsRequestTopic()
		r.Topic = *t.Topic
		for _, p := range t.Partitions {
			one := kmsg.NewListOffsetsRequestTopicPartition()
			one.Partition, one.Timestamp = p.Partition, which
			r.Partitions = append(r.Partitions, one)
		}
		ask.Topics = append(ask.Topics, r)
	}
	if len(ask.Topics) == 0 {
		return found, nil
	}
	for _, shard := range q.client.RequestSharded(ctx, ask) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		answer, ok := shard.Resp.(*kmsg.ListOffsetsResponse)
		if !ok {
			continue
		}
		for _, t := range answer.Topics {
			for _, p := range t.Partitions {
				if kerr.ErrorForCode(p.ErrorCode) == nil {
					found[place{t.Topic, p.Partition}] = p.Offset
				}
			}
		}
	}
	return found, nil
}

// committed asks for a group's offsets.
func (q *Queue) committed(ctx context.Context, group string) (map[place]int64, error) {
	found := make(map[place]int64)
	ask := kmsg.NewPtrOffsetFetchRequest()
	ask.Group = group
	one := kmsg.NewOffsetFetchRequestGroup()
	one.Group = group
	ask.Groups = append(ask.Groups, one)
	answer, err := ask.RequestWith(ctx, q.client)
	if err != nil {
		return nil, err
	}
	for _, g := range answer.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode == 0 && p.Offset >= 0 {
					found[place{t.Topic, p.Partition}] = p.Offset
				}
			}
		}
	}
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 && p.Offset >= 0 {
				found[place{t.Topic, p.Partition}] = p.Offset
			}
		}
	}
	return found, nil
}
