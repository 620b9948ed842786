"""`tidemark workspace export`: everything that is held of one workspace, in one file, for a tenant that leaves.

The file is a zip archive like a backup's, with the catalog as the lines of `tidemark catalog apply` and each public
table as Parquet. Tokens, API keys and webhooks' secrets are not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import orjson

from services.aggregator.audit.run import AuditSettings
from services.aggregator.backup.archive import FORMAT, BackupError, Manifest, Writer
from services.aggregator.backup.raw_rows import RawRows
from services.aggregator.catalog_export import ExportSettings, exported
from services.runtime.clock import Clock, iso_millis
from services.runtime.wording import counted

VIEWS = ("raw_events", "post_snapshots", "channel_snapshots", "latest_post_metrics", "post_totals", "channel_totals")


def export(settings: AuditSettings, workspace: str, path: Path, clock: Clock, show: Callable[[str], None]) -> Manifest:
    """Write one workspace's data to a new file.

    Raises:
        BackupError: nothing is held of the workspace, or the file can't be made; no file was left.
        TopicUnreadable: Kafka can't be read; no file was left.
        RegistryUnavailable: the registry does not answer; no file was left.
    """
    rows = RawRows(settings)
    try:
        with Writer(path) as archive:
            catalog = archive.add("catalog.ndjson", _lines(settings, workspace))
            for view in VIEWS:
                count = rows.count_of(view, workspace)
                member = archive.add(f"{view}.parquet", _counted(rows.view(view, workspace), count), is_compressed=True)
                show(f"{view}: {counted(member.count, 'row')}")
            if not catalog.count and not any(member.count for member in archive.members):
                raise BackupError(f"nothing is held of a workspace {workspace}")
            manifest = Manifest(
                FORMAT,
                version("tidemark"),
                iso_millis(clock.now()),
                settings.topic_partitions,
                rows.migration(),
                members=archive.members,
                workspace=workspace,
            )
            archive.finish(manifest)
            return manifest
    finally:
        rows.close()


def _lines(settings: AuditSettings, workspace: str) -> Iterator[tuple[bytes, int]]:
    own = ExportSettings.model_construct(**{name: getattr(settings, name) for name in ExportSettings.model_fields})
    for line in exported(own, workspace):
        yield orjson.dumps(line) + b"\n", 1


def _counted(chunks: Iterator[bytes], count: int) -> Iterator[tuple[bytes, int]]:
    for chunk in chunks:
        yield chunk, 0
    yield b"", count
