"""Analysis under `/tidemark/v1`: time series, totals of a window, and exports of whole tables.

In: checked parameters. Out: figures over time, computed in ClickHouse from snapshots, and files in ClickHouse's own
formats.
"""
