"""Posts, targets and channels: as they stand, many at once, in pages, the top ones, and where figures come from."""
