"""Answers the insight endpoints of all products, and takes the catalog and keys in.

In: HTTP requests; the catalog topics, held in memory; ClickHouse, asked through `read_model`. Out: each product's own
replies; catalog events. It never computes a figure that another surface shows differently: products ask the questions
of `query` and only render the answers.
"""
