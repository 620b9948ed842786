"""`tidemark audit`: recomputes every stored number from its sources, in SQL, and compares the two.

Each link of the chain is checked against the link before, so that all links together reach from the snapshots to the
compacted topics. A wrong number is reported at the link where it arose, and not again in every total above:

    snapshots + catalog -> latest figures -> post totals, channel windows -> rollups.posts, rollups.channels

The audit never uses the aggregator's folds: code that checked itself would find nothing.
"""
