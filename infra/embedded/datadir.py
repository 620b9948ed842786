"""The data folder of one `tidemark up`: held by one process at a time, with the ports and secrets it keeps.

Comes in: a path. Goes out: `logs/`, `ports.json`, `secrets.json` (readable by its owner alone) and the engines' own
folders. A second `up` on it resumes: the same addresses, the same passwords.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.fernet import Fernet
from filelock import FileLock, Timeout

from infra.embedded.errors import DataDirError
from infra.embedded.jvm import make_empty
from infra.embedded.ports import free_ports, is_free, require_free
from services.status.addresses import PID_FILE, RUNNING_FILE

MINIMUM_FREE_BYTES = 256 * 1024 * 1024
MEBIBYTE = 1024 * 1024
# Children of a killed `up` are killed with it, but their sockets may outlive the lock by a moment.
PORT_RELEASE_SECONDS = 3.0
PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
# The services' folder for short-lived files; the engines have folders of their own.
TEMPORARY = "tmp"
# The query API's store: what the topics hold, made again where it is missing.
STORE = "store"
# Addresses of the services' metrics, as Prometheus discovers targets in files (`file_sd_configs`).
SCRAPED_FILE = "prometheus.json"
# Certificates and passwords of `tidemark up --secure`.
SECURE = "secure"
# Names of all entries that a data folder may have.
OWN = (
    "logs", "kafka", "registry", "clickhouse", "query_api", "ports.json", "prometheus.json", "running.json",
    "secrets.json", "up.lock", "up.pid", TEMPORARY, STORE, SECURE,
)  # fmt: skip
DEFAULT_PORTS = {"kafka": 9092, "registry": 8081, "clickhouse": 8123, "query_api": 8080}


@dataclass(frozen=True)
class Secrets:
    """Keys and passwords of one data folder, made once.

    Attributes:
        secret_keys: for TIDEMARK_SECRET_KEYS, a Fernet key.
        tokens_bound: whether the folder was made by a version that binds each token's ciphertext to its channel, so
            that every ciphertext on the folder's topics is bound.
    """

    clickhouse_password: str
    clickhouse_analyst_password: str
    admin_key: str
    secret_keys: str
    tokens_bound: bool = False
    clickhouse_builder_password: str = ""


class DataDir:
    """A data folder, held while the context lasts.

    Raises:
        DataDirError: on entering, when it cannot be written, its disk is full, or another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self._lock = FileLock(self.path / "up.lock")

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(parents=True, mode=PRIVATE_FOLDER, exist_ok=True)
            self.logs.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            self._lock.acquire(timeout=0)
            make_empty(self.path / TEMPORARY)
        except Timeout:
            raise DataDirError(
                f"another `tidemark up`{self._holder()} runs on {self.path}: stop it or choose another --data-dir"
            ) from None
        except OSError as error:
            raise DataDirError(
                f"cannot write the data folder {self.path} ({error.strerror}): choose another --data-dir"
            ) from error
        free_bytes = shutil.disk_usage(self.path).free
        if free_bytes < MINIMUM_FREE_BYTES:
            self._lock.release()
            raise DataDirError(
                f"only {free_bytes // MEBIBYTE} MB are free on the disk of {self.path}: "
                f"free {MINIMUM_FREE_BYTES // MEBIBYTE} MB or choose another --data-dir"
            )
        try:
            for name in OWN:
                close_to_others(self.path / name)
            if self._is_all_ours():
                close_to_others(self.path)
        except OSError as error:
            self._lock.release()
            raise DataDirError(
                f"cannot close {error.filename or self.path} to others ({error.strerror}): run as the folder's owner, "
                "or choose another --data-dir"
            ) from error
        write_atomically(self.path / PID_FILE, f"{os.getpid()}\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in (PID_FILE, RUNNING_FILE, SCRAPED_FILE):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / TEMPORARY, ignore_errors=True)
        self._lock.release()

    def _is_all_ours(self) -> bool:
        """Whether the folder holds a data folder's entries alone, and is not somebody's home or a shared `/tmp`."""
        status = self.path.stat()
        held = {entry.name for entry in self.path.iterdir()}
        return (
            status.st_uid == os.geteuid()
            and not status.st_mode & stat.S_ISVTX
            and (self.secrets_path.name in held or held <= {*OWN})
        )

    def note_running(self, document: Mapping[str, object], scraped: Sequence[object]) -> None:
        """Write addresses and settings of this run to files, which are removed at the end.

        Args:
            document: for commands to find.
            scraped: the services' metrics, for Prometheus.
        """
        write_atomically(self.path / RUNNING_FILE, json.dumps(document, indent=2) + "\n", mode=PRIVATE_FILE)
        write_atomically(self.path / SCRAPED_FILE, json.dumps(scraped, indent=2) + "\n", mode=PRIVATE_FILE)

    @property
    def logs(self) -> Path:
        """The folder that holds each service's log."""
        return self.path / "logs"

    @property
    def secrets_path(self) -> Path:
        """The file of `secrets`, mode 0600."""
        return self.path / "secrets.json"

    def secrets(self) -> Secrets:
        """This folder's secrets. Missing secrets are made: all of them the first time, new ones after an upgrade.

        Raises:
            DataDirError: the file exists but is damaged.
        """
        if self.secrets_path.exists():
            try:
                kept = Secrets(**json.loads(self.secrets_path.read_text(encoding="utf-8")))
            except (ValueError, TypeError) as error:
                raise DataDirError(
                    f"{self.secrets_path} is damaged: restore it, or choose another --data-dir"
                ) from error
            if kept.clickhouse_builder_password:
                return kept
            return self._write_secrets(replace(kept, clickhouse_builder_password=secrets.token_urlsafe(18)))
        made = Secrets(
            clickhouse_password=secrets.token_urlsafe(18),
            clickhouse_analyst_password=secrets.token_urlsafe(18),
            admin_key=f"tm_admin_{secrets.token_urlsafe(24)}",
            secret_keys=Fernet.generate_key().decode(),
            tokens_bound=True,
            clickhouse_builder_password=secrets.token_urlsafe(18),
        )
        return self._write_secrets(made)

    def _write_secrets(self, made: Secrets) -> Secrets:
        write_atomically(self.secrets_path, json.dumps(asdict(made), indent=2) + "\n")
        return made

    def ports(self, names: Iterable[str], *, usual: bool) -> dict[str, int]:
        """Choose a port per name and keep the choice.

        Args:
            usual: take `DEFAULT_PORTS` for the names listed there. All other names keep the port that they had in
                this folder, while that port is free: clients and Kafka's own metadata remember it.

        Raises:
            PortTakenError: a usual port has another listener.
        """
        path = self.path / "ports.json"
        kept = _read_ports(path)
        wanted = {name: DEFAULT_PORTS[name] if usual and name in DEFAULT_PORTS else kept.get(name) for name in names}
        if kept:
            _await_release(port for port in wanted.values() if port is not None)
        if usual:
            require_free((name, DEFAULT_PORTS[name]) for name in wanted if name in DEFAULT_PORTS)
        chosen: dict[str, int] = {}
        for name, port in wanted.items():
            if port is None or port in chosen.values() or not is_free(port):
                port = free_ports(1, avoid={*kept.values(), *chosen.values(), *DEFAULT_PORTS.values()})[0]
            chosen[name] = port
        write_atomically(path, json.dumps({**kept, **chosen}, indent=2) + "\n")
        return chosen

    def _holder(self) -> str:
        try:
            return f" (pid {int((self.path / 'up.pid').read_text(encoding='utf-8'))})"
        except (OSError, ValueError):
            return ""


def close_to_others(path: Path) -> None:
    """Remove all permissions of group and others from a file, or from a folder and everything in it."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        return
    is_folder = stat.S_ISDIR(status.st_mode)
    if status.st_mode & 0o077:
        path.chmod(PRIVATE_FOLDER if is_folder else PRIVATE_FILE)
    if is_folder:
        for entry in os.scandir(path):
            close_to_others(path / entry.name)


def write_atomically(path: Path, text: str, mode: int = PRIVATE_FILE) -> None:
    """Replace a file's content in one step; a reader sees the old text or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _read_ports(path: Path) -> Mapping[str, int]:
    try:
        return {str(name): int(port) for name, port in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _await_release(ports: Iterable[int]) -> None:
    deadline = time.monotonic() + PORT_RELEASE_SECONDS
    for port in ports:
        while not is_free(port) and time.monotonic() < deadline:
            time.sleep(0.05)
