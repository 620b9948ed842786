"""Reads secrets again at SIGHUP: each `NAME_FILE`, and `.env`; certificates are read again with them.

In: the settings of a running service. Out: the same settings with the new secrets, and a call to whoever made something
of the old ones. Connections that are open stay; the next one uses the new secret and certificate. All other settings
stay as they were at the start.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from services.runtime import tls
from services.runtime.logging import get_logger
from services.runtime.settings import ENV_PREFIX, Settings, SettingsError, holds_secret

log = get_logger(__name__)


class Reloading:
    """The secrets of one process.

    Args:
        settings: those that the process works with; their secrets are replaced in place, so that whoever connects next
            by them uses the new ones.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._refreshed: list[Callable[[], None]] = []

    def then(self, refresh: Callable[[], None]) -> None:
        """Have a function called after each reading, which takes the secrets over from the settings.

        An error of it is logged, and the function then keeps what it had.
        """
        self._refreshed.append(refresh)

    def at_signal(self) -> None:
        """Read again at each SIGHUP, on the running event loop."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.now)

    def now(self) -> None:
        """Read everything again; where a file can't be read, nothing changes, and the log says which."""
        try:
            changed = replace_secrets(self._settings, type(self._settings).load())
        except SettingsError as error:
            log.error("secrets are not read again", error=str(error))
            return
        for problem in tls.renew():
            log.error("a certificate is not read again", error=problem)
        for refresh in self._refreshed:
            try:
                refresh()
            except (ValueError, OSError) as error:
                log.error("a secret can't be used, the one before stays", error=str(error))
        log.info("secrets and certificates are read again", changed=changed)


def replace_secrets(held: Settings, fresh: Settings) -> list[str]:
    """Give settings the secrets of other settings of their class; returns the names of those that differ."""
    changed = []
    for name, field in type(held).model_fields.items():
        if holds_secret(field) and getattr(held, name) != getattr(fresh, name):
            # Settings are frozen for everybody else.
            held.__dict__[name] = getattr(fresh, name)
            changed.append(f"{ENV_PREFIX}{name}".upper())
    return changed
