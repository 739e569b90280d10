"""The durable queue: a task row is its queue entry. Knows nothing of users or HTTP."""
