"""The pages beside the APIs: the front page, the descriptions, health and metrics."""
