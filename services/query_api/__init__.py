"""Answers the insight endpoints of all products, and accepts writes of the catalog and keys.

In: HTTP requests; the catalog topics, held in memory; ClickHouse, asked through `read_model`. Out: each product's own
replies; catalog events. Products never compute figures of their own: they ask the questions of `query` and only render
the answers, so that all surfaces show the same numbers.
"""
