"""`tidemark backup`: what can't be made again, in one file, and back into an empty installation.

- `archive.py`: the file itself: members, manifest, checksums.
- `topic_messages.py`: messages of topics to lines and back.
- `raw_rows.py`: raw events of ClickHouse to Parquet and back.
- `newest_catalog.py`, `open_deliveries.py`: what ClickHouse knows newer than the backup, after Kafka was lost.
- `positions.py`: how far webhooks were told.
- `workspace.py`: one workspace's data, for a tenant that leaves.
- `create.py`, `restore.py`: the two commands; `command.py` is their console side.
"""
