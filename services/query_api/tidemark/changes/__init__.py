"""What changed in a workspace since a cursor: in pages, and as a stream of server-sent events."""
