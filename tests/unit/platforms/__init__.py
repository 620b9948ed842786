"""Platforms: golden answers, contract suite, fuzzing."""
