"""Who asks, and what the analyst may ask.

In: credentials; a statement and the engine's own parse of it. Out: a user, or a call that may run, or a refusal.
"""

from __future__ import annotations

import dataclasses
import hmac
from dataclasses import dataclass

from infra.embedded.clickhouse.config import Settings, digest
from infra.embedded.clickhouse.engine import Call, Engine
from infra.embedded.clickhouse.errors import AUTHENTICATION_FAILED, READONLY, refusal
from infra.embedded.clickhouse.request import Credentials
from infra.embedded.clickhouse.statements import Statement


@dataclass(frozen=True, slots=True)
class User:
    """A user of the interface."""

    name: str
    analyst: bool


class Users:
    """The two users, `default` and `analyst`."""

    def __init__(self, settings: Settings) -> None:
        self._passwords = {"default": digest(settings.password)}
        if settings.analyst_password is not None:
            self._passwords["analyst"] = digest(settings.analyst_password)
        self._nobody = digest("no such user")

    def authenticate(self, credentials: Credentials) -> User:
        """The user with these credentials.

        Raises:
            ServerError: AUTHENTICATION_FAILED, the same for an unknown user and a wrong password.
        """
        expected = self._passwords.get(credentials.user)
        matches = hmac.compare_digest(expected or self._nobody, digest(credentials.password))
        if expected is None or not matches:
            raise refusal(
                AUTHENTICATION_FAILED,
                f"{credentials.user}: Authentication failed: password is incorrect, or there is no user with such name.",
            )
        return User(credentials.user, credentials.user == "analyst")

    def permit(self, call: Call, statement: Statement, engine: Engine) -> Call:
        if not statement.reads:
            raise refusal(READONLY, "analyst: Cannot execute query in readonly mode.")
        return dataclasses.replace(call, readonly=1)
