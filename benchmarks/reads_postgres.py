"""PostgreSQL for one benchmark: found or installed, started in a temporary folder, stopped with it."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]

from benchmarks.reads_data import CREATE_SNAPSHOTS, INDEX_SNAPSHOTS, INSERT_SNAPSHOTS
from infra.embedded.ports import free_ports

VERSION = 15
_SETTINGS = {
    # All of the table fits into memory, as ClickHouse's own caches hold what it reads.
    "shared_buffers": "1GB",
    "max_connections": "100",
    "fsync": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "jit": "off",
}
_START_SECONDS = 60
_STOP_SECONDS = 20
_INSTALL_SECONDS = 240


class NoPostgres(Exception):
    """PostgreSQL is not there and could not be installed; the message says what to do."""


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A running server with an empty database; gives its address.

    Args:
        folder: takes the data; it has to exist, and may be anybody's.

    Raises:
        NoPostgres: it can't be run here.
    """
    programs, data = _programs(), folder / "postgres"
    owner = _owner()
    data.mkdir()
    if owner is not None:
        os.chown(data, owner.pw_uid, owner.pw_gid)
        # The server has to reach its data through a folder that is this user's alone.
        folder.chmod(folder.stat().st_mode | 0o011)
    port = free_ports(1)[0]
    log = data / "server.log"
    options = " ".join(f"-c {name}={value or chr(39) * 2}" for name, value in {**_SETTINGS, "port": str(port)}.items())
    control = [str(programs / "pg_ctl"), "-D", str(data / "files")]
    _run([str(programs / "initdb"), "-D", str(data / "files"), "-U", "bench", "-A", "trust"], owner, data)
    _run([*control, "-w", "-t", str(_START_SECONDS), "-l", str(log), "-o", options, "start"], owner, data)
    try:
        yield f"postgresql://bench@127.0.0.1:{port}/postgres"
    finally:
        _run([*control, "-m", "immediate", "-t", str(_STOP_SECONDS), "stop"], owner, data)


def fill(address: str, posts: int) -> None:
    """The table of snapshots with its index, analysed, and in memory."""

    async def run() -> None:
        connection = await asyncpg.connect(address)
        try:
            await connection.execute("SET synchronous_commit = off")
            await connection.execute(CREATE_SNAPSHOTS)
            await connection.execute(INSERT_SNAPSHOTS, posts, timeout=1200)
            await connection.execute(INDEX_SNAPSHOTS, timeout=1200)
            await connection.execute("VACUUM ANALYZE post_analytics", timeout=1200)
        finally:
            await connection.close()

    asyncio.run(run())


def _programs() -> Path:
    """The folder of the server's programs.

    Raises:
        NoPostgres: there is none.
    """
    folder = Path(f"/usr/lib/postgresql/{VERSION}/bin")
    if not (folder / "initdb").exists() and shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(
            ["apt-get", "install", "-y", f"postgresql-{VERSION}"],
            capture_output=True,
            timeout=_INSTALL_SECONDS,
            check=False,
            # The package would otherwise start a server of its own.
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"},
        )
    if not (folder / "initdb").exists():
        raise NoPostgres(f"PostgreSQL {VERSION} is needed for the comparison: apt-get install postgresql-{VERSION}")
    return folder


def _owner() -> pwd.struct_passwd | None:
    """Who runs the server: this process's user, but never root, whom it refuses.

    Raises:
        NoPostgres: this is root and Debian's user of the package is missing.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        raise NoPostgres("PostgreSQL does not run as root, and there is no user postgres") from None


def _run(argv: Sequence[str], owner: pwd.struct_passwd | None, folder: Path) -> None:
    """Run one of its programs to its end.

    Raises:
        AssertionError: it failed.
    """
    # To a file: the server keeps what its starter had open.
    with (folder / "programs.log").open("ab") as log:
        code = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=None if owner is None else owner.pw_uid,
            group=None if owner is None else owner.pw_gid,
            extra_groups=None if owner is None else [],
            cwd=folder,
            timeout=_START_SECONDS + 30,
            check=False,
        ).returncode
    said = "".join(path.read_text(errors="replace")[-1000:] for path in folder.glob("*.log"))
    assert code == 0, f"{Path(argv[0]).name} ended with {code}: {said}"
