"""Questions about posts, targets and channels, and their answers from ClickHouse and memory."""
