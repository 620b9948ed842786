"""Questions about posts, targets and channels, and who answers them from ClickHouse and memory."""
