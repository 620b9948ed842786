"""Tells workspaces' webhooks what happens: signed deliveries, tried again until they arrive or are given up."""
