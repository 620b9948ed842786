"""`tidemark workspace delete`: everything that is held of one workspace, for good.

- `topics.py`: tombstones for keys of the compacted topics; until when the others hold messages.
- `tables.py`: rows of ClickHouse, removed and counted.
- `run.py`: the order of the work, and the proof; `command.py` is the console side.
"""
