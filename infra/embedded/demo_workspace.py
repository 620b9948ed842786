"""A workspace to look at, `tidemark up --demo`: the sandbox's accounts with some posts each, and a key to read them.

It is made once in a data folder, which keeps the key in a file of its owner; a later start shows the same key.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from infra.embedded.console import say
from infra.embedded.datadir import write_atomically
from infra.sandbox.channels import PLATFORMS, lines
from tidemark_client import Tidemark, TidemarkAdmin, TidemarkError

WORKSPACE = "demo"
KEY_FILE = "demo-key"
POSTS = 20


def demo_key(folder: Path, origin: str, admin_key: str, now: int) -> str:
    """The key of the workspace; the workspace is made first if the folder has no key that works.

    Args:
        origin: of the query API.
        now: ms; the newest posts are an hour old.

    Raises:
        TidemarkError: the query API refuses something, or can't be reached.
        OSError: the key can't be kept.
    """
    path = folder / KEY_FILE
    held = path.read_text(encoding="ascii").strip() if path.exists() else ""
    if held and _opens(origin, held):
        return held
    with TidemarkAdmin(origin, admin_key) as admin:
        admin.write_catalog(line for platform in PLATFORMS for line in lines(platform, WORKSPACE, None, POSTS, now))
        made = admin.make_key(WORKSPACE).key.get_secret_value()
    write_atomically(path, f"{made}\n", mode=0o600)
    return made


def show(folder: Path, origin: str, admin_key: str) -> None:
    """Make the workspace in a thread of its own, and say its key; a failure is said as well, and ends nothing."""

    def run() -> None:
        try:
            key = demo_key(folder, origin, admin_key, time.time_ns() // 1_000_000)
        except (TidemarkError, OSError) as error:
            say(f"tidemark: the workspace {WORKSPACE} could not be made ({error}); start with --demo again")
            return
        say(f"\n  {origin}/app shows the workspace {WORKSPACE}, of made-up figures, to this key:\n    {key}")

    threading.Thread(target=run, daemon=True).start()


def _opens(origin: str, key: str) -> bool:
    """Whether the query API knows a key.

    Raises:
        TidemarkError: it can't be reached.
    """
    try:
        with Tidemark(origin, key) as client:
            next(client.channels(page_size=1), None)
    except ValueError:
        return False  # what the file holds can be no key
    except TidemarkError as error:
        if error.status in (401, 403):
            return False
        raise
    return True
