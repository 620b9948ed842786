"""Webhooks: addresses of a workspace that are told what happens, and the log of what was delivered to them."""
