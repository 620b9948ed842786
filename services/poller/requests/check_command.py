"""`tidemark platforms check` at the terminal: a table of what the platform takes, and what mends the rest."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

from services.platforms import configured_platforms
from services.platforms.abilities import AppClient, ProvesTokens
from services.platforms.base import Channel, Platform, Target
from services.poller.asking.directory import Directory
from services.poller.asking.fetch import Fetcher
from services.poller.connections.tokens import Credentials
from services.poller.errors import Stop
from services.poller.requests.check import Checked, Checker, Subject
from services.poller.requests.check_catalog import CheckError, CheckSettings, registered
from services.poller.settings import PlatformSettings, own_values
from services.poller.timing import SystemTime
from services.runtime.logging import configure_logging
from services.runtime.patience import saying
from services.runtime.registry import RegistryUnavailable
from services.runtime.secrets import SecretsError, TokenCipher, TokenPair
from services.runtime.settings import SettingsError, exit_with, load_or_exit

TOKEN_VARIABLE = "TIDEMARK_CHECK_TOKEN"
"""Holds an access token for a check without a catalog."""
SILENT_SECONDS = 2.0
_CALL_SECONDS = 30.0

Show = Callable[[str, int, int], None]
"""Is told which call is made, how many are done, and of how many."""


class Wanted(NamedTuple):
    """What the command line asks for.

    Attributes:
        channel: our id of a channel in the catalog; with a token of its own, the platform's id of the account.
        posts: the platform's ids of posts to ask for; () for the newest that are known.
        post_type: of those posts.
        token_file: holds an access token; None for the catalog's, or for the variable's.
    """

    platform: str
    channel: str
    workspace: str | None
    posts: Sequence[str] = ()
    post_type: str = ""
    token_file: Path | None = None


def unknown_platform(name: str) -> NoReturn:
    """End the command: there is no platform of this name."""
    exit_with(f"--platform {name}: no such platform; there are {', '.join(configured_platforms({}))}")


def run(wanted: Wanted) -> int:
    """Make the check and print its table; returns the exit code: 1 when something is refused."""
    configure_logging("check", "ERROR")
    try:
        access = PlatformSettings.of(wanted.platform)
        platform = configured_platforms(own_values())[wanted.platform]
    except SettingsError as error:
        exit_with(str(error))
    except KeyError:
        unknown_platform(wanted.platform)
    steps = {"line": f"check: asking {wanted.platform}"}

    def show(name: str, done: int, of: int) -> None:
        steps["line"] = f"check: {name}, {done} of {of} calls made"

    try:
        with saying(lambda: steps["line"], every_seconds=SILENT_SECONDS):
            found = asyncio.run(_check(wanted, platform, access, show))
    except (CheckError, SecretsError, Stop, RegistryUnavailable) as error:
        exit_with(str(error), 1)
    for line in table(found):
        print(line)
    refused = sum(one.is_refused for one in found)
    print(f"{len(found) - refused} of {len(found)} calls work" + (f", {refused} refused" if refused else ""))
    return 1 if refused else 0


async def _check(wanted: Wanted, platform: Platform, access: PlatformSettings, show: Show) -> list[Checked]:
    fetcher = Fetcher({wanted.platform: access.base_url} if access.base_url else {}, timeout_seconds=_CALL_SECONDS)
    time, configured = SystemTime(), {wanted.platform} if access.base_url else set[str]()
    directory = Directory(time=time, platforms={wanted.platform: platform}, fetcher=fetcher, configured=configured)
    checker = Checker(fetcher, directory, time.now)
    try:
        subject = await _subject(wanted, platform, access)
        if not subject.targets:
            targets = await checker.newest_posts(subject)
            subject = Subject(subject.name, platform, subject.channel, targets, subject.credentials)
        return await checker.check(subject, show)
    finally:
        await fetcher.close()


async def _subject(wanted: Wanted, platform: Platform, access: PlatformSettings) -> Subject:
    """What is checked: of the catalog, or of the command line alone."""
    named = [
        Target(f"checked-{number}", f"checked-{number}", post, wanted.post_type)
        for number, post in enumerate(wanted.posts)
    ]
    token = _token(wanted.token_file)
    if token is not None:
        channel = Channel(wanted.workspace or "check", "check", wanted.channel)
        return Subject(wanted.platform, platform, channel, named, _credentials(TokenPair(token), platform, access))
    settings = load_or_exit(CheckSettings)
    if not settings.secret_keys:
        raise CheckError(
            "TIDEMARK_SECRET_KEYS is not set; it opens the tokens of the catalog. Without a catalog, give a token: "
            f"--token-file FILE, or {TOKEN_VARIABLE}"
        )
    cipher = TokenCipher(settings.secret_keys, unbound=settings.unbound_tokens)
    held = await registered(settings, wanted.platform, wanted.channel, wanted.workspace)
    key = (held.channel.workspace_id, held.channel.channel_id)
    pair = TokenPair() if held.tokens is None else cipher.decrypt(held.tokens.ciphertext, key)
    channel = Channel(*key, held.channel.external_id, held.channel.username)
    return Subject(wanted.platform, platform, channel, named or held.targets, _credentials(pair, platform, access))


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip() or None
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise CheckError(f"--token-file {file}: {error.__class__.__name__}: it can't be read") from None
    if not token:
        raise CheckError(f"--token-file {file}: the file is empty")
    return token


def _credentials(pair: TokenPair, platform: Platform, access: PlatformSettings) -> Credentials:
    secret = access.client_secret.get_secret_value() if access.client_secret is not None else None
    prove = (
        partial(platform.proof, client=AppClient(access.client_id, secret))
        if isinstance(platform, ProvesTokens)
        else None
    )
    return Credentials(pair, access.secrets(), prove)


def table(found: Sequence[Checked]) -> list[str]:
    """The lines of the table: call, request, result, the platform's words, what mends it."""
    head = ("call", "request", "result", "what the platform says", "what mends it")
    rows = [head, *((one.call, one.request, one.result, one.words, one.mends) for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
