"""Posts, targets and channels: one, many by id, pages, the top posts, and the sources of figures."""
