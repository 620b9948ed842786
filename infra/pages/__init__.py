"""Brings the libraries of the pages from npm; see `infra.pages.vendor`."""
