"""`tidemark audit`: recomputes every stored number from what it was made of, in SQL, and compares.

Each link of the chain is checked against the one before it, so that together they reach from the snapshots to the
compacted topics, and a wrong number is told where it arose and not once more in every total above it:

    snapshots + catalog -> latest figures -> post totals, channel windows -> rollups.posts, rollups.channels

Nothing here uses the aggregator's folds: what is checked must not check itself.
"""
