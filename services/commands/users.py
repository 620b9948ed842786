"""Users for `--users FOLDER`: makes the user of each service and command in Kafka or ClickHouse.

In: the names of users, and a folder. Out: the users, and one file for each role in the folder, which its owner alone
may read: a password of Kafka, or an address of ClickHouse with user and password in it. Services read these files as
`NAME_FILE`. A file that is there already is kept, and its user gets the password in it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from clickhouse_connect.driver.exceptions import ClickHouseError

from services.runtime.acls import make_users, users_there
from services.runtime.migrations import connect
from services.runtime.new_files import NewFile
from services.runtime.settings import ClickHouseSettings, KafkaSettings, SettingsError, read_secret

_SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
# As the server says it, and as the embedded engine does.
_IS_THERE = re.compile(r"ACCESS_ENTITY_ALREADY_EXISTS|already exists in|exists already")


class UsersError(RuntimeError):
    """The users can't be made; the message says why and what to do."""


def make_kafka_users(settings: KafkaSettings, folder: Path, users: Mapping[str, str]) -> Iterator[str]:
    """Make users who log in by SCRAM; a file holds a password.

    Args:
        users: the user's name by role, which is the name of the file.

    Yields:
        one line for each user.

    Raises:
        UsersError: the cluster's users don't log in by SCRAM, a user is there whose file is missing, or a file can't be
            read or written.
        AclsError: Kafka can't be reached, or refuses this principal.
    """
    mechanism = settings.kafka_sasl_mechanism or "SCRAM-SHA-512"
    if mechanism not in _SCRAM:
        raise UsersError(
            f"--users makes users for {' and '.join(_SCRAM)}, but TIDEMARK_KAFKA_SASL_MECHANISM is {mechanism}: "
            "make the users as your cluster does, and leave out --users"
        )
    missing = [role for role in users if not (folder / role).exists()]
    there = users_there(settings, [users[role] for role in missing]) if missing else frozenset[str]()
    for role in missing:
        if users[role] in there:
            raise UsersError(_without_file(users[role], folder / role, "its password"))
    for role in missing:
        _write(folder / role, _password())
    make_users(settings, {user: _read(folder / role) for role, user in users.items()}, mechanism)
    for role, user in users.items():
        yield f"{user}: {folder / role}"


def make_clickhouse_users(settings: ClickHouseSettings, folder: Path, users: Mapping[str, str]) -> Iterator[str]:
    """Make users with a password; a file holds the address of ClickHouse with a user's name and password.

    Args:
        settings: of a user that may make users; host, port and database of the written addresses are its own.
        users: the user's name by role, which is the name of the file.

    Yields:
        one line for each user.

    Raises:
        UsersError: a user is there whose file is missing, the own user may make none, or a file can't be read or
            written.
        MigrationError: ClickHouse can't be reached.
    """
    on_cluster = f" ON CLUSTER `{settings.clickhouse_cluster}`" if settings.clickhouse_cluster else ""
    client = connect(settings, None)
    for role, user in users.items():
        path = folder / role
        is_new = not path.exists()
        if is_new:
            _write(path, _address(settings, user, _password()))
        password = unquote(urlsplit(_read(path)).password or "").replace("\\", "\\\\").replace("'", "\\'")
        given = f"{user}{on_cluster} IDENTIFIED BY '{password}'"
        kept = "" if is_new else "IF NOT EXISTS "
        try:
            client.command(f"CREATE USER {kept}{given}")
            if not is_new:
                client.command(f"ALTER USER {given}")
        except ClickHouseError as error:
            if is_new:
                path.unlink()
            line = str(error).splitlines()[0]
            if _IS_THERE.search(str(error)):
                raise UsersError(_without_file(user, path, "its address")) from None
            raise UsersError(f"{user} can't be made: {line}; run this as a user with all rights") from None
        yield f"{user}: {path}"
    client.close()


def _without_file(user: str, path: Path, content: str) -> str:
    return f"the user {user} is there already, but {path} is not: put {content} there, or remove the user"


def _address(settings: ClickHouseSettings, user: str, password: str) -> str:
    parts = urlsplit(settings.clickhouse_url.get_secret_value())
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(
        (parts.scheme, f"{quote(user)}:{password}@{place}", f"/{settings.clickhouse_database}", parts.query, "")
    )


def _password() -> str:
    # Hexadecimal, so that it stands in an address, a statement and a properties file as it is.
    return secrets.token_hex(24)


def _read(path: Path) -> str:
    try:
        return read_secret("the user's password", str(path))
    except SettingsError as error:
        raise UsersError(str(error)) from None


def _write(path: Path, secret: str) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NewFile(path) as new:
            new.stream.write(f"{secret}\n".encode())
            new.publish()
    except OSError as error:
        raise UsersError(f"{path} can't be written ({error.strerror}): name another folder by --users") from None
