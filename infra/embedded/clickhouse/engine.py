"""The chDB engine: its handles, the threads that call it, and running statements.

In: `Call`s. Out: rows as bytes in the requested format, or `ServerError`. This module knows nothing of HTTP, and of
rights only a handle's `readonly`.

chDB lets a process open one data directory through any number of handles. A handle runs one statement at a time and
keeps a database and settings like a session. So each statement leases a handle; a handle that already has the right
database and settings is preferred, so that the common case costs no extra call.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Protocol, TypeVar

from infra.embedded.clickhouse.connection import Connection
from infra.embedded.clickhouse.errors import BAD_ARGUMENTS, ServerError, StartError, refusal
from infra.embedded.clickhouse.inserts import from_file, without_file
from infra.embedded.clickhouse.running import PipedStatement, Totals
from infra.embedded.clickhouse.statements import Statement, written_to

log = logging.getLogger(__name__)

T = TypeVar("T")

_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9.]*")
_CLOSE_MERGES_SECONDS = 3.0
# Settings of a guest's handle. The first three make the engine itself refuse, should a statement pass that must not.
# Without the next one the engine would make the text of whole blocks in memory, to make several at once.
# The others make a guest's statements give way to the product's, which have priority 1 (see `config`): between two
# blocks while a statement of the product runs, for at most 100 ms, since an export may run for an hour; and in the
# kernel's scheduling, where the process may set that (see `confinement`; elsewhere the engine ignores the setting).
_GUEST_SETTINGS = (
    "allow_ddl = 0", "allow_python_table_function = 0", "allow_introspection_functions = 0",
    "output_format_parallel_formatting = 0",
    "priority = 10", "low_priority_query_wait_time_ms = 100", "os_threads_nice_value_query = 19",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """One statement for the engine.

    Attributes:
        sql: the statement; for `run_insert` without inline data.
        format: the format of the rows, sent or received; for a reply the statement's own FORMAT clause wins.
        settings: applied for this statement alone.
        readonly: the engine's own `readonly`: 1 allows neither writes nor changes of settings, 2 allows no writes.
        marker: a comment by which the running statement can be found and cancelled.
        guest: whether the statement runs in the guests' slots.
        reply_bytes: how long the text of all rows may be; 0 for any length.
        role: the role whose rights the statement has; empty for all rights.
    """

    sql: str
    format: str
    database: str
    settings: Mapping[str, str]
    params: Mapping[str, str]
    readonly: int = 0
    marker: str = ""
    guest: bool = False
    reply_bytes: int = 0
    role: str = ""


@dataclass(slots=True)
class Handle:
    """One chDB connection, the session state that it holds, and the one thread that calls it.

    A thread of its own made statements a quarter faster than a pool's threads: the engine keeps memory per thread.

    Attributes:
        reader: the thread that reads the pipe into which a statement writes its rows.
    """

    connection: Connection | None
    readonly: int
    thread: ThreadPoolExecutor
    reader: ThreadPoolExecutor
    guest: bool = False
    role: str = ""
    database: str = "default"
    settings: dict[str, str] = field(default_factory=dict)
    locked: bool = False
    spoiled: bool = False

    def changes_to(self, call: Call) -> int:
        """How many engine calls would give this handle the call's database and settings."""
        return (self.database != call.database) + (self.settings != dict(call.settings))


class Reopened(Protocol):
    """What holds a connection of its own, which has to be closed before the engine can be."""

    def closed(self) -> contextlib.AbstractContextManager[None]:
        """A context in which the connection is closed; it is opened anew at the end."""


class Engine:
    """Handles to one data directory."""

    def __init__(self, path: str, config: str, *, handles: int, guests: int = 4) -> None:
        """Opens the data directory.

        Raises:
            StartError: chDB cannot open it.
        """
        self._address = f"{path}?config-file={config}"
        # By `Call.guest`: guests' statements never take or wait for a handle of the product.
        self._handles = {False: handles, True: guests}
        self._free: dict[bool, list[Handle]] = {False: [], True: []}
        self._free_lock = threading.Lock()
        self._slots = {guest: asyncio.Semaphore(count) for guest, count in self._handles.items()}
        self._control_lock = threading.Lock()
        try:
            self._control = self.connect()
        except ServerError as error:
            raise StartError(f"chDB cannot open {path}: {error.message.strip()}") from error
        self.version = self._scalar("SELECT version()")
        self.timezone = self._scalar("SELECT timezone()")

    def _scalar(self, sql: str) -> str:
        text: str = self.control(sql)
        return text.strip()

    def control(self, sql: str, params: Mapping[str, str] | None = None) -> str:
        """Run a short statement of this process on a handle of its own; blocks the calling thread."""
        with self._control_lock:
            reply: bytes = self._control.query(sql, "TabSeparatedRaw", params).bytes()
        return reply.decode()

    def connect(self) -> Connection:
        """Open a further connection to the data directory, for one thread at a time."""
        return Connection(self._address)

    @cached_property
    def setting_values(self) -> Mapping[str, str]:
        """The engine's default settings by name; the first call blocks its thread."""
        rows = self.control("SELECT toJSONString((name, value)) FROM system.settings").splitlines()
        return dict(json.loads(row) for row in rows)

    @contextlib.asynccontextmanager
    async def lease(self, call: Call, *, fresh: bool = False) -> AsyncIterator[Handle]:
        """A handle for one statement; waits while all handles are in use.

        Args:
            fresh: whether the handle is new and for this statement alone. A fresh handle may do more than the call,
                until its `readonly` is set to the call's and its next statement runs.
        """
        async with self._slots[call.guest]:
            handle = self.new_handle(readonly=0, guest=call.guest, role=call.role) if fresh else self._take(call)
            handle.spoiled = handle.spoiled or fresh
            try:
                yield handle
            finally:
                self._give_back(handle)

    def _take(self, call: Call) -> Handle:
        with self._free_lock:
            free = self._free[call.guest]
            fitting = [handle for handle in free if handle.readonly == call.readonly and handle.role == call.role]
            # On a readonly handle no setting can be changed, so the handle must fit already.
            if call.readonly == 1:
                fitting = [handle for handle in fitting if handle.settings == dict(call.settings)]
            if fitting:
                best = min(reversed(fitting), key=lambda handle: handle.changes_to(call))
                free.remove(best)
                return best
        return self.new_handle(readonly=call.readonly, guest=call.guest, role=call.role)

    @staticmethod
    def new_handle(*, readonly: int, guest: bool = False, role: str = "") -> Handle:
        """A handle, whose connection opens with its first statement."""
        thread, reader = (ThreadPoolExecutor(1, thread_name_prefix=name) for name in ("statement", "reader"))
        return Handle(None, readonly, thread, reader, guest, role)

    def slot(self) -> contextlib.AbstractAsyncContextManager[None]:
        """A slot for one running statement of the product, on a handle that a session keeps."""
        return self._slots[False]

    def _give_back(self, handle: Handle) -> None:
        if handle.spoiled or handle.connection is None or handle.connection.is_soiled:
            self.close_handle(handle)
            return
        with self._free_lock:
            free = self._free[handle.guest]
            free.append(handle)
            excess = free.pop(0) if len(free) > self._handles[handle.guest] else None
        if excess is not None:
            self.close_handle(excess)

    @staticmethod
    def close_handle(handle: Handle) -> None:
        """Close a handle and drop its temporary tables."""
        if handle.connection is not None:
            handle.connection.close()
            handle.connection = None
        handle.thread.shutdown(wait=False)
        handle.reader.shutdown(wait=False)

    async def in_thread(self, handle: Handle, work: Callable[[], T]) -> T:
        """Run blocking engine work on the handle's thread."""
        return await asyncio.get_running_loop().run_in_executor(handle.thread, work)

    async def in_reader(self, handle: Handle, work: Callable[[], T]) -> T:
        """Run work that waits for rows of a `PipedStatement` beside the handle's thread."""
        return await asyncio.get_running_loop().run_in_executor(handle.reader, work)

    def prepare(self, handle: Handle, call: Call) -> Connection:
        """Give the handle the call's database and settings, and return its connection.

        Raises:
            ServerError: unknown database or setting; the handle must not be used again.
        """
        wanted = dict(call.settings)
        for name in wanted:
            if not _SETTING_NAME.fullmatch(name):
                raise refusal(BAD_ARGUMENTS, f"Invalid setting name {name!r}")
        if handle.connection is None:
            handle.connection = self.connect()
            if handle.role:
                handle.connection.query(f"SET ROLE {quoted_identifier(handle.role)}")
        connection = handle.connection
        try:
            if handle.settings != wanted or handle.locked != bool(handle.readonly):
                self._apply_settings(handle, connection, wanted)
            if handle.database != call.database:
                connection.query("USE " + quoted_identifier(call.database))
                handle.database = call.database
        except ServerError:
            handle.spoiled = True
            raise
        return connection

    @staticmethod
    def _apply_settings(handle: Handle, connection: Connection, wanted: dict[str, str]) -> None:
        changes = [f"{name} = DEFAULT" for name in handle.settings if name not in wanted]
        changes += [f"{name} = {quoted_string(value)}" for name, value in wanted.items()]
        if handle.readonly and not handle.locked:
            if handle.guest:
                changes += _GUEST_SETTINGS
            changes.append(f"readonly = {handle.readonly}")
            handle.locked = True
        if changes:
            connection.query("SET " + ", ".join(changes))
        handle.settings = wanted

    def run(self, handle: Handle, call: Call) -> tuple[bytes, Totals]:
        """Run a statement to its end and return all of its rows."""
        result = self.prepare(handle, call).query(marked(call), call.format, call.params)
        content: bytes = result.bytes() or b""
        return content, Totals(
            read_rows=result.storage_rows_read(),
            read_bytes=result.storage_bytes_read(),
            written_rows=result.rows_written(),
            written_bytes=result.bytes_written(),
            result_rows=result.rows_read(),
            result_bytes=len(content),
            elapsed_seconds=result.elapsed(),
        )

    def start(self, handle: Handle, call: Call) -> PipedStatement:
        """Start a statement whose rows are taken in pieces, on the handle's thread."""
        return PipedStatement(
            handle.thread, partial(self._write, handle, call), partial(self.cancel, call.marker), call.reply_bytes
        )

    def _write(self, handle: Handle, call: Call, path: str) -> Totals:
        """Run a statement to its end and write its rows to a path as one document."""
        connection = self.prepare(handle, call)
        written = dataclasses.replace(call, sql=written_to(call.sql, path, call.format))
        result = connection.query(marked(written), call.format, call.params)
        return Totals(
            read_rows=result.storage_rows_read(),
            read_bytes=result.storage_bytes_read(),
            result_rows=result.rows_read(),
            elapsed_seconds=result.elapsed(),
        )

    def run_insert(self, handle: Handle, call: Call, statement: Statement, path: str) -> Totals:
        """Insert encoded rows from a file.

        Guarantee: once this returns, the rows survive the death of this process. A failed insert leaves no row when it
        fits one block of the engine (`min_insert_block_size_rows`, 1,048,449 rows, and 256 MB); of a larger failed
        insert whole blocks may stay.

        Raises:
            ServerError: the engine has not confirmed the rows.
        """
        try:
            return self.run(handle, dataclasses.replace(call, sql=from_file(statement, path, call.format)))[1]
        except ServerError as error:
            raise ServerError(error.code, without_file(error.message)) from error

    def cancel(self, marker: str) -> None:
        """Ask the engine to stop the statement with this marker, if it runs; blocks the calling thread."""
        with contextlib.suppress(ServerError):
            self.control(f"KILL QUERY WHERE {_marker_condition(marker)} ASYNC")

    def engine_query_id(self, marker: str) -> str | None:
        """The engine's own query id of the running statement with this marker; None when no such statement runs."""
        found = self.control(f"SELECT query_id FROM system.processes WHERE {_marker_condition(marker)} LIMIT 1")
        return found.strip() or None

    def close(self) -> None:
        """Stop background merges and close every handle; statements must have ended.

        An engine that closed during a merge has crashed, so merges are stopped and waited for.
        """
        self._stop_merges()
        self._close_free()
        with self._control_lock:
            self._control.close()

    @contextlib.asynccontextmanager
    async def standstill(self) -> AsyncIterator[None]:
        """A time in which no statement runs or begins; waits for those that run. Handles of sessions must be closed."""
        held: list[asyncio.Semaphore] = []
        try:
            for guest, slots in self._slots.items():
                for _ in range(self._handles[guest]):
                    await slots.acquire()
                    held.append(slots)
            yield
        finally:
            for slots in held:
                slots.release()

    def reopen(self, beside: Sequence[Reopened]) -> None:
        """Close the engine and open it with its configuration as it is now; blocks, and only during a `standstill`.

        Args:
            beside: what else holds connections.
        """
        self._stop_merges()
        self._close_free()
        with contextlib.ExitStack() as closed:
            for one in beside:
                closed.enter_context(one.closed())
            closed.enter_context(self._control_lock)
            self._control.close()
            self._control = self.connect()

    def _stop_merges(self) -> None:
        with contextlib.suppress(ServerError):
            self.control("SYSTEM STOP MERGES")
            self.control("SYSTEM STOP MOVES")
            waited = threading.Event()
            for _ in range(int(_CLOSE_MERGES_SECONDS / 0.05)):
                if self.control("SELECT count() FROM system.merges").strip() == "0":
                    break
                waited.wait(0.05)

    def _close_free(self) -> None:
        with self._free_lock:
            for free in self._free.values():
                for handle in free:
                    self.close_handle(handle)
                free.clear()


def marked(call: Call) -> str:
    """The statement with its marker at the end, where the marker shifts no position in an error message."""
    return f"{call.sql}\n/* {call.marker} */" if call.marker else call.sql


def _marker_condition(marker: str) -> str:
    return f"endsWith(query, {quoted_string(f'/* {marker} */')}) AND query_id != queryID()"


def quoted_identifier(name: str) -> str:
    """A name quoted as SQL, whatever characters the name holds."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def quoted_string(text: str) -> str:
    """A text as SQL's string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
