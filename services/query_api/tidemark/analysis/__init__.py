"""Analysis under `/tidemark/v1`: time series, totals of a window, and exports of whole tables.

In: what was asked. Out: figures over time, computed in ClickHouse from snapshots, and files in its own formats.
"""
