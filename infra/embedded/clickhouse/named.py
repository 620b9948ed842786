"""Users that an operator makes by CREATE USER and GRANT: kept in a file, and held to their grants by the engine.

In: statements of the user `default`. Out: passwords, and grants by user.

The engine has one user and takes no other while it runs. So each user here is a role of the engine's configuration, and
a statement runs on a handle that has taken its user's role and no other. New grants count once the engine is opened
anew, which takes half a second; see `Engine.reopen`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infra.embedded.clickhouse.config import digest
from infra.embedded.clickhouse.errors import ACCESS_DENIED, BAD_ARGUMENTS, UNKNOWN_USER, refusal
from infra.embedded.clickhouse.statements import Statement, Token, tokens

# A name is an element of the engine's configuration, too.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_OWN = frozenset({"default", "analyst", "builder", "everything"})
_METHODS = frozenset({"SHA256_PASSWORD", "PLAINTEXT_PASSWORD"})


@dataclass(slots=True)
class _Named:
    password: str
    grants: list[str] = field(default_factory=list)


class NamedUsers:
    """The users in a file, which the process's owner alone may read.

    Attributes:
        is_stale: whether grants have changed since the engine was opened.

    Raises:
        ValueError: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.is_stale = False
        held = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self._users = {name: _Named(**one) for name, one in held.items()}

    @property
    def grants(self) -> Mapping[str, Sequence[str]]:
        """The grants of each user, as GRANT statements without TO."""
        return {name: tuple(user.grants) for name, user in self._users.items()}

    def password(self, name: str) -> bytes | None:
        """The digest of a user's password; None for an unknown user."""
        user = self._users.get(name)
        return None if user is None else bytes.fromhex(user.password)

    def change(self, statement: Statement, check: Callable[[str], object]) -> bool:
        """Do what a statement says, if the statement makes a user, drops one or grants.

        Args:
            check: raises for a text that the engine can't parse.

        Returns:
            whether it was such a statement; any other is the engine's.

        Raises:
            ServerError: the statement can't be parsed, or names a user that does not exist or can't be made.
        """
        if statement.verb not in ("CREATE", "ALTER", "DROP", "GRANT"):
            return False
        parts = list(tokens(statement.sql))
        is_user = len(parts) > 1 and parts[1].upper == "USER"
        if not is_user and statement.verb != "GRANT":
            return False
        check(statement.sql)
        if statement.verb == "GRANT":
            return self._grant(statement.sql, parts)
        if statement.verb == "DROP":
            self._drop(parts[2:])
        else:
            self._make(parts[2:], is_new=statement.verb == "CREATE")
        return True

    def _make(self, parts: Sequence[Token], *, is_new: bool) -> None:
        words = [part.upper or part.text for part in parts]
        is_kept = words[:3] == ["IF", "NOT", "EXISTS"]
        rest = parts[3:] if is_kept else parts
        name, words = _name(rest[0]), [part.upper or part.text for part in rest[1:]]
        if words[:2] == ["IDENTIFIED", "WITH"] and len(words) > 2 and words[2] in _METHODS:
            words = ["IDENTIFIED", *words[3:]]
        if words[:2] != ["IDENTIFIED", "BY"] or len(words) != 3 or rest[-1].kind != "string":
            raise refusal(BAD_ARGUMENTS, f"{name}: give a password, as in IDENTIFIED BY '...', and nothing else")
        held = self._users.get(name)
        if is_new and held is not None:
            if is_kept:
                return
            raise refusal(BAD_ARGUMENTS, f"user {name} exists already; ALTER USER changes the password")
        if not is_new and held is None:
            raise _unknown(name)
        password = digest(_text(rest[-1])).hex()
        if held is None:
            self._users[name] = _Named(password)
            self.is_stale = True
        else:
            held.password = password
        self._write()

    def _drop(self, parts: Sequence[Token]) -> None:
        words = [part.upper or part.text for part in parts]
        is_lenient = words[:2] == ["IF", "EXISTS"]
        name = _name((parts[2:] if is_lenient else parts)[0])
        if self._users.pop(name, None) is None and not is_lenient:
            raise _unknown(name)
        self.is_stale = True
        self._write()

    def _grant(self, sql: str, parts: Sequence[Token]) -> bool:
        to = next((place for place, part in enumerate(parts) if part.depth == 0 and part.upper == "TO"), None)
        if to is None or len(parts) < to + 2:
            return False
        name = _name(parts[to + 1])
        user = self._users.get(name)
        if user is None:
            raise _unknown(name)
        after = " ".join(part.text for part in parts[to + 2 :])
        granted = f"{sql[: parts[to].start].strip()} {after}".strip()
        if granted not in user.grants:
            user.grants.append(granted)
            self.is_stale = True
            self._write()
        return True

    def _write(self) -> None:
        partial = self._path.with_suffix(".partial")
        held = {name: {"password": user.password, "grants": user.grants} for name, user in self._users.items()}
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            json.dump(held, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(self._path)


def refuse_another_role(statement: Statement) -> None:
    """Refuse a statement by which a named user would take other rights than its own.

    Raises:
        ServerError: ACCESS_DENIED.
    """
    first, second = (*[token.upper for token, _ in zip(tokens(statement.sql), range(2), strict=False)], "", "")[:2]
    if first == "EXECUTE" or (first == "SET" and second in ("ROLE", "DEFAULT")):
        raise refusal(ACCESS_DENIED, "A user here has one role, which cannot be changed")


def _name(token: Token) -> str:
    name = token.text if token.kind == "word" else token.text[1:-1]
    if not _NAME.fullmatch(name) or name in _OWN:
        raise refusal(BAD_ARGUMENTS, f"{name[:40]!r} can't be a user's name: give small letters, digits and _")
    return name


def _text(token: Token) -> str:
    return re.sub(r"\\(.)|''", lambda found: found[1] or "'", token.text[1:-1])


def _unknown(name: str) -> Exception:
    return refusal(UNKNOWN_USER, f"There is no user {name} in users.json")
