"""Engines, sandbox and deployment files: what Tidemark runs on, with no domain logic outside `sandbox`."""
