"""The store's folder: which of its environments is read, opened with a look at whether it can be trusted.

The one module that opens LMDB. An environment is a folder of its own, made beside the one that is read and named in
`CURRENT` once it is whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias
from uuid import uuid4

import lmdb
import orjson

from services.query_api.store import layout
from services.query_api.store.layout import Damaged

Transaction: TypeAlias = "lmdb.Transaction[bytes]"
StoreError = lmdb.Error


def is_of_a_key(error: Exception) -> bool:
    """Whether a StoreError only says that a key has a length that no key may have: the store itself is as it was."""
    return isinstance(error, lmdb.BadValsizeError)


_CURRENT = "CURRENT"
_OPENING = "OPENING"
_PREFIX = "posts-"
_DATABASES = (
    *layout.TABLES,
    layout.CHANGES,
    layout.TARGETS,
    layout.ORDER,
    layout.POSITIONS,
    layout.RECENT,
    layout.GONE,
    layout.META,
)
_IDENTITY = b"identity"
_CLEAN = b"clean"
# Of memory addresses, not of memory or disk. It doubles when it is full.
MAP_BYTES: Final = 1 << 30
# All tenants' figures lie there: for the owner of the process alone.
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_PACKED_AT_ONCE = 50_000
# Processes that read at once.
_READERS = 1024


class Identity(NamedTuple):
    """What a store is of: of another one nothing may be read.

    Attributes:
        format: of this package.
        incarnation: names the cluster and its topics as they are now: a topic made anew is another one.
        partitions: of each topic.
    """

    format: int
    incarnation: str
    partitions: int


class Environment:
    """One open environment.

    Args:
        is_writable: whether this process may write it; else it has to be there.
        is_durable: whether a transaction is on disk when it is committed. Without it a crash of the machine may leave
            anything: for what is being filled and read by nobody.

    Raises:
        Damaged: it can't be opened, or is shorter than it says.
    """

    def __init__(
        self, path: Path, *, is_writable: bool = True, is_durable: bool = True, map_bytes: int = MAP_BYTES
    ) -> None:
        self.path = path
        self.is_writable = is_writable
        if is_writable:
            path.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        size = _size(path)
        try:
            self._env = lmdb.open(
                str(path),
                mode=_FILE_MODE,
                map_size=max(map_bytes, 2 * size),
                max_dbs=len(_DATABASES),
                max_readers=_READERS,
                readonly=not is_writable,
                # What a transaction wrote is on disk before its root is; the last root may be lost in a crash of the
                # machine, and its messages are then read again.
                sync=is_durable,
                metasync=False,
                # Random reads of many posts: what lies beside one is not wanted.
                readahead=False,
                meminit=False,
            )
        except lmdb.Error as error:
            raise Damaged(f"{path} can't be opened: {error}") from None
        try:
            self._check_length()
            self.databases = {
                name: self._env.open_db(name, create=is_writable, dupsort=name == layout.ORDER) for name in _DATABASES
            }
            self.tables = [self.databases[name] for name in layout.TABLES]
        except lmdb.Error as error:
            self._env.close()
            raise Damaged(f"{path} can't be read: {error}") from None
        except Damaged:
            self._env.close()
            raise

    @property
    def file(self) -> Path:
        """All that is held."""
        return _file(self.path)

    def _check_length(self) -> None:
        """Refuse a file that ends before its last page: to read there would end the process."""
        needed = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        if _size(self.path) < needed:
            raise Damaged(f"{self.path} is shorter than the {needed} bytes that it says")

    def begin(self) -> Transaction:
        """A snapshot, to be ended with `abort`; nothing may be awaited meanwhile, since its pages are kept for it."""
        try:
            return self._env.begin()
        except lmdb.MapResizedError:
            # The writer made room.
            self._env.set_mapsize(0)
            return self._env.begin()

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A snapshot for the length of a block; see `begin`."""
        txn = self.begin()
        try:
            yield txn
        finally:
            txn.abort()

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """A transaction; it counts when the block ends without an error."""
        with self._env.begin(write=True) as txn:
            yield txn

    def grow(self) -> int:
        """Make room for twice as much; no transaction may be under way in this process. Returns the bytes."""
        size: int = self._env.info()["map_size"] * 2
        self._env.set_mapsize(size)
        return size

    @property
    def map_bytes(self) -> int:
        """How much fits in."""
        return self._env.info()["map_size"]

    @property
    def last_transaction(self) -> int:
        """The number of the last transaction of any process."""
        return self._env.info()["last_txnid"]

    def forget_dead_readers(self) -> None:
        """Let go of snapshots that processes held which are gone."""
        self._env.reader_check()

    def sync(self) -> None:
        """Write everything to disk."""
        self._env.sync(True)

    def close(self) -> None:
        """Let go of the files."""
        self._env.close()

    def packed(self, path: Path) -> None:
        """Write everything that is held into a new environment with full pages, on disk when this returns.

        What is put in the order of its keys, or about so, leaves pages half empty; in the order of the keys, and said
        to be so, it fills them.

        Raises:
            StoreError, OSError: there is no room; what was written is gone again.
        """
        try:
            other = Environment(path, is_durable=False, map_bytes=self.map_bytes)
            try:
                with self.reading() as txn:
                    for name in _DATABASES:
                        with txn.cursor(db=self.databases[name]) as cursor:
                            entries = cursor.iternext(keys=True, values=True)
                            while other.append(name, islice(entries, _PACKED_AT_ONCE)):
                                pass
                    identity = txn.get(_IDENTITY, db=self.databases[layout.META])
                if identity is not None:
                    other.name(Identity(*orjson.loads(identity)[:3]))
                other.sync()
            finally:
                other.close()
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise

    def append(self, name: bytes, entries: Iterable[tuple[bytes, bytes]]) -> int:
        """Put entries behind all others of a database; they are in the order of their keys. Returns how many."""
        with self.writing() as txn, txn.cursor(db=self.databases[name]) as cursor:
            count: int = cursor.putmulti(entries, append=True)[0]
            return count

    # What it is of.

    def name(self, identity: Identity) -> None:
        """Say what this environment is of; it is new."""
        with self.writing() as txn:
            told = [*identity, _inode(self.path)]
            txn.put(_IDENTITY, orjson.dumps(told), db=self.databases[layout.META])

    def check_identity(self, expected: Identity) -> None:
        """Refuse what is of something else, or a copy.

        Raises:
            Damaged: with the reason.
        """
        with self.reading() as txn:
            held = txn.get(_IDENTITY, db=self.databases[layout.META])
        try:
            told = None if held is None else orjson.loads(held)
        except orjson.JSONDecodeError:
            told = None
        if not isinstance(told, list) or len(told) != 4:
            raise Damaged("it does not say what it is of")
        identity, inode = Identity(*told[:3]), told[3]
        if identity.format != expected.format:
            raise Damaged(f"it is of format {identity.format}, and {expected.format} is written now")
        if identity != expected:
            raise Damaged("it is of another cluster, or of topics that were made anew since")
        if inode != _inode(self.path):
            raise Damaged("it is a copy, which may have been made while it was written")

    def was_closed_cleanly(self) -> bool:
        """Whether the process that wrote it last ended in order; False from now on, until `closed_cleanly`."""
        meta = self.databases[layout.META]
        with self.writing() as txn:
            found = txn.get(_CLEAN, db=meta) is not None
            txn.delete(_CLEAN, db=meta)
        return found

    def closed_cleanly(self) -> None:
        """Note that whoever writes it ends in order."""
        with self.writing() as txn:
            txn.put(_CLEAN, b"1", db=self.databases[layout.META])
        self.sync()

    def check_values(self) -> int:
        """Look at everything that is held; returns how many values.

        Raises:
            Damaged: one is not what was stored.
        """
        count = 0
        try:
            with self.reading() as txn:
                for table in layout.TABLES:
                    for key, value in txn.cursor(db=self.databases[table]):
                        layout.unpack(key, value)
                        count += 1
                for name in (layout.CHANGES, layout.TARGETS, layout.ORDER, layout.GONE):
                    count += sum(1 for _ in txn.cursor(db=self.databases[name]))
        except lmdb.Error as error:
            raise Damaged(f"a page is damaged: {error}") from None
        return count


def _file(path: Path) -> Path:
    return path / "data.mdb"


def _size(path: Path) -> int:
    try:
        return _file(path).stat().st_size
    except FileNotFoundError:
        return 0


def _inode(path: Path) -> int:
    return _file(path).stat().st_ino


class Folder:
    """The folder of the settings."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)

    def current(self) -> Path | None:
        """The environment that is read; None while there is none."""
        try:
            name = (self.root / _CURRENT).read_text(encoding="ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        path = self.root / name
        return path if name.startswith(_PREFIX) and path.is_dir() else None

    def version(self) -> tuple[int, int]:
        """Changes whenever another environment is read, or none."""
        try:
            stat = (self.root / _CURRENT).stat()
        except FileNotFoundError:
            return 0, 0
        return stat.st_ino, stat.st_mtime_ns

    def new(self) -> Path:
        """A place for a new environment, beside those that there are."""
        # Never the name of an earlier one, which a process may still read.
        return self.root / f"{_PREFIX}{uuid4().hex}"

    def make_current(self, path: Path) -> None:
        """Read this environment from now on, and let go of the others."""
        beside = self.root / f"{_CURRENT}.new"
        beside.write_text(path.name, encoding="ascii")
        os.replace(beside, self.root / _CURRENT)
        self.remove_others(path)

    def make_none_current(self) -> None:
        """Read nothing until another environment is whole."""
        (self.root / _CURRENT).unlink(missing_ok=True)

    def remove_others(self, kept: Path | None) -> None:
        """Remove every environment but one; processes that read one go on reading it until they look."""
        for path in self.all():
            if kept is None or path.name != kept.name:
                shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def opening(self, path: Path) -> Iterator[None]:
        """Note that an environment is looked at, so that one which ends the process is not looked at again.

        Raises:
            Damaged: the last look at it did not come to its end.
        """
        marker = self.root / _OPENING
        if marker.exists() and marker.read_text(encoding="utf-8", errors="replace") == path.name:
            marker.unlink()
            raise Damaged("the process ended while it was opened the last time")
        marker.write_text(path.name, encoding="utf-8")
        try:
            yield
        finally:
            marker.unlink(missing_ok=True)

    def all(self) -> list[Path]:
        """Every environment that there is."""
        return [path for path in self.root.glob(f"{_PREFIX}*") if path.is_dir()]


def used_bytes(path: Path) -> int:
    """Bytes on disk of an environment."""
    return _size(path)
