"""The process's settings, and the engine's own configuration files made from them.

In: typed settings. Out: `config.xml` and `users.xml` in the data directory. The sizes suit a machine with two cores
that also runs Kafka and the services; a server's defaults would take ten times as many threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from infra.embedded.clickhouse.limits import Limits

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """The command line and the passwords.

    Attributes:
        path: the data directory; the engine's files live in its `engine` folder.
        port: 0 takes a free one.
        analyst_databases: databases the analyst may read besides `database`.
        analyst_hidden: patterns of table names (`*` and `?`) that the analyst may not name.
        memory_bytes: the engine's limit for all statements together.
        handles: how many statements may run at once; each has its own engine handle.
        insert_bytes: how many bytes of data one INSERT may carry, decompressed; the data waits on disk.
        keep_free_bytes: free space of the disk below which no statement may write.
        password: the user `default`'s; an empty one means that no password is asked for, as on a fresh server.
        analyst_password: None means that there is no user `analyst`.
        analyst_limits: time, memory and slots of the analyst's statements.
        builder_password: None means that there is no user `builder`.
        builder_database: the database that the builder may change, besides databases named `<builder_database>_*`.
        builder_limits: time, memory and slots of the builder's statements.
        has_named_users: whether the user `default` may make further users; see `named`.
        certificate, key: PEM files; with them the interface speaks https alone.
    """

    path: Path
    port: int
    host: str = "127.0.0.1"
    database: str = "tidemark"
    analyst_databases: tuple[str, ...] = ()
    analyst_hidden: tuple[str, ...] = ("_*",)
    memory_bytes: int = 1536 * _MIB
    handles: int = 16
    insert_bytes: int = 1024 * _MIB
    keep_free_bytes: int = 256 * _MIB
    password: str = ""
    analyst_password: str | None = None
    analyst_limits: Limits = field(default_factory=Limits)
    builder_password: str | None = None
    builder_database: str = "analytics"
    builder_limits: Limits = field(default_factory=lambda: Limits(slots=2, seconds=300))
    has_named_users: bool = False
    certificate: Path | None = None
    key: Path | None = None

    @property
    def engine_path(self) -> Path:
        """Folder of the engine's data."""
        return self.path / "engine"

    @property
    def spool_path(self) -> Path:
        """Folder for large request bodies and replies; emptied at every start."""
        return self.path / "spool"

    @property
    def users_path(self) -> Path:
        """Folder of the engine's `users.xml` and of the file of named users."""
        return self.path / "users"

    @property
    def temporary_path(self) -> Path:
        """The temporary folder that the engine uses in place of the system's; emptied at every start."""
        return self.path / "temporary"


def write_users(settings: Settings, grants: Mapping[str, Sequence[str]]) -> Path:
    """Write the engine's `users.xml` and return its path.

    Args:
        grants: of each named user, as GRANT statements without TO.
    """
    settings.users_path.mkdir(parents=True, exist_ok=True)
    users = settings.users_path / "users.xml"
    everything = "<access_management>1</access_management>"
    roles = ""
    if settings.has_named_users:
        # The engine's one user has a role for each named user; a handle without a role of its own has all of them.
        names = "".join(f", {name}" for name in grants)
        everything = f"<grants><query>GRANT everything{names}</query></grants>"
        held = {"everything": ["GRANT ALL ON *.* WITH GRANT OPTION"], **grants}
        roles = f"<roles>{''.join(map(_role, held, held.values()))}</roles>"
    users.write_text(_USERS.format(everything=everything, roles=roles), encoding="utf-8")
    return users


def _role(name: str, grants: Sequence[str]) -> str:
    return f"<{name}><grants>{''.join(f'<query>{escape(grant)}</query>' for grant in grants)}</grants></{name}>"


def write_engine_config(settings: Settings, grants: Mapping[str, Sequence[str]] | None = None) -> Path:
    """Write the engine's configuration and return the path of its main file; see `write_users`."""
    users = write_users(settings, grants or {})
    main = settings.path / "config.xml"
    main.write_text(
        _CONFIG.format(
            users=escape(str(users.resolve())),
            memory=settings.memory_bytes,
            keep_free=settings.keep_free_bytes,
            mark_cache=64 * _MIB,
            index_cache=32 * _MIB,
            tmp=escape(str((settings.engine_path / "tmp").resolve()) + "/"),
        ),
        encoding="utf-8",
    )
    return main


def digest(secret: str) -> bytes:
    """A password's digest. All digests have one length, so that a comparison's time tells nothing about a password."""
    return hashlib.sha256(secret.encode()).digest()


# A server's thread pools are sized for dozens of processors; those with a setting get a few threads here. Other pools
# (the one that deletes old parts: 128 threads, idle, each with three open files) have their full size from the moment
# chdb is imported, because the import opens an engine of its own. The merge_tree section satisfies the engine's check
# that small merges always find a free thread.
_CONFIG = """<clickhouse>
    <users_config>{users}</users_config>
    <logger><level>none</level></logger>
    <tmp_path>{tmp}</tmp_path>
    <max_server_memory_usage>{memory}</max_server_memory_usage>
    <storage_configuration>
        <disks><default><keep_free_space_bytes>{keep_free}</keep_free_space_bytes></default></disks>
    </storage_configuration>
    <mark_cache_size>{mark_cache}</mark_cache_size>
    <index_mark_cache_size>{index_cache}</index_mark_cache_size>
    <primary_index_cache_size>{index_cache}</primary_index_cache_size>
    <uncompressed_cache_size>0</uncompressed_cache_size>
    <query_condition_cache_size>{index_cache}</query_condition_cache_size>
    <background_pool_size>2</background_pool_size>
    <background_merges_mutations_concurrency_ratio>2</background_merges_mutations_concurrency_ratio>
    <os_threads_nice_value_merge_mutate>10</os_threads_nice_value_merge_mutate>
    <background_move_pool_size>1</background_move_pool_size>
    <background_fetches_pool_size>1</background_fetches_pool_size>
    <background_common_pool_size>2</background_common_pool_size>
    <background_schedule_pool_size>4</background_schedule_pool_size>
    <background_buffer_flush_schedule_pool_size>1</background_buffer_flush_schedule_pool_size>
    <background_message_broker_schedule_pool_size>1</background_message_broker_schedule_pool_size>
    <background_distributed_schedule_pool_size>1</background_distributed_schedule_pool_size>
    <parts_killer_pool_size>2</parts_killer_pool_size>
    <snapshot_cleaner_pool_size>2</snapshot_cleaner_pool_size>
    <prefetch_threadpool_pool_size>4</prefetch_threadpool_pool_size>
    <load_marks_threadpool_pool_size>4</load_marks_threadpool_pool_size>
    <threadpool_writer_pool_size>4</threadpool_writer_pool_size>
    <threadpool_local_fs_reader_pool_size>8</threadpool_local_fs_reader_pool_size>
    <compiled_expression_cache_size>{index_cache}</compiled_expression_cache_size>
    <merge_tree>
        <number_of_free_entries_in_pool_to_execute_mutation>2</number_of_free_entries_in_pool_to_execute_mutation>
        <number_of_free_entries_in_pool_to_lower_max_size_of_merge>2</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
        <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>2</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
    </merge_tree>
</clickhouse>
"""

_USERS = """<clickhouse>
    <profiles>
        <default>
            <query_profiler_real_time_period_ns>0</query_profiler_real_time_period_ns>
            <query_profiler_cpu_time_period_ns>0</query_profiler_cpu_time_period_ns>
            <log_queries>0</log_queries>
            <priority>1</priority>
            <wait_for_async_insert>1</wait_for_async_insert>
        </default>
    </profiles>
    <users>
        <default>
            <password></password>
            <networks><ip>::1</ip><ip>127.0.0.1</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            {everything}
        </default>
    </users>
    {roles}
    <quotas><default></default></quotas>
</clickhouse>
"""
