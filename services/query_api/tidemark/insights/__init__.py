"""Insights under `/tidemark/v1/insights`: when posts do best, how they age, and what is out of the ordinary.

In: checked parameters. Out: medians with the number of samples behind each, computed in ClickHouse from snapshots. A
median of too few samples is null; `measures` has the minimums.
"""
