package fanfare

// Rules are the rules of the design (§4) that a test may break on purpose, to see that the simulator notices. The zero value
// means that every rule holds; only tests set a field (architecture_test.go says so).
type Rules struct {
	ProgressAtFetch     bool // members count as sent when their batch is fetched
	ResultsBeforeSend   bool // results are journaled before the send
	ResultsGuardedByGen bool // results are refused after a pause
	ClaimWithoutLatch   bool // the claim looks at the task only, not at the latch
	NoLookBeforeSend    bool // neither lease nor message row is looked at before a send
	NoFence             bool // journal writes are not guarded by fence and step
	BlindCommitRetry    bool // a commit whose answer was lost is simply tried again, on whatever fence and step there are
	DoubtedInMemory     bool // doubted is not written
	SuppressionsBefore  bool // suppressions are read before the intent's transaction
	AttemptInKey        bool // the attempt number is part of the item's key
	AckBeforeClaim      bool // a task is acknowledged before its claim is durable
	CompletedWhenEmpty  bool // a message is completed when a fetch of ready batches comes back empty
	SentComputed        bool // sent is computed from what is missing
	FreezeTwice         bool // a freeze is not guarded by frozen
	AmendWithoutLatch   bool // to send again is not guarded by the latch
}
