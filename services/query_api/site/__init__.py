"""What is served beside the APIs: the front page, the description, health and metrics."""
