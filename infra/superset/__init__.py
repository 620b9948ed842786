"""Makes an importable dashboard for Superset of the public views."""
