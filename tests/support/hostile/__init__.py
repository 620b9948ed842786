"""Attackers on a running Tidemark, the tenants that live beside them, and who watches both. On loopback, bounded."""
