"""`tidemark backup`: what can't be made again, in one file, and back into an empty installation.

- `archive.py`: the file itself: members, manifest, checksums.
- `topic_messages.py`: messages of topics to lines and back.
- `raw_rows.py`: raw events of ClickHouse to Parquet and back.
- `create.py`, `restore.py`: the two commands; `command.py` is their console side.
"""
