"""Measurements, run by `make bench`: each figure is a ratio against something run beside it."""
