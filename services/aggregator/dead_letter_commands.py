"""`tidemark dead-letters list|show|redrive` at the terminal."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import orjson

from services.aggregator.dead_letters import DeadLetters, Filter, Listed, Origin
from services.aggregator.letters_shown import described, readable
from services.aggregator.redrive import Redrive
from services.aggregator.topic_reader import TopicReader, TopicUnreadable
from services.runtime.clock import SystemClock, iso_millis
from services.runtime.progress import ProgressBar
from services.runtime.redaction import blank_secret_bytes, blank_secrets
from services.runtime.registry import RegistryUnavailable
from services.runtime.settings import KafkaSettings, RegistrySettings, exit_with, load_or_exit
from services.runtime.since import parse_since
from services.runtime.wording import counted


class DeadLetterSettings(KafkaSettings, RegistrySettings):
    """Settings of the dead-letter commands, from the environment (`TIDEMARK_*`)."""


def make_filter(reasons: list[str] | None, workspace: str | None, since: str | None) -> Filter:
    """Make a filter of the options of `list` and `redrive`; a bad `--since` ends the process."""
    try:
        instant = parse_since(since, SystemClock().now()) if since is not None else None
    except ValueError as error:
        exit_with(str(error))
    return Filter(frozenset(reasons or ()), workspace, instant)


class _Session:
    """Settings and connections of one command."""

    def __init__(self, stack: ExitStack) -> None:
        self.settings = load_or_exit(DeadLetterSettings)
        self.reader = stack.enter_context(TopicReader(self.settings, is_committed=False))
        # Letters and original messages are read by turns, so letters get a reader of their own.
        self.letters = DeadLetters(self.settings, self.settings, stack.enter_context(TopicReader(self.settings)))


def list_letters(wanted: Filter, limit: int, *, as_json: bool) -> None:
    """Print the newest letters, oldest first, one on each line."""
    with _connected() as stack:
        listed = _Session(stack).letters.newest(wanted, limit)
    for entry in listed:
        print(orjson.dumps(described(entry)).decode() if as_json else _line(entry))
    if not listed:
        print(f"there are no dead letters{'' if wanted == Filter() else ' that match'}", file=sys.stderr)


def _line(entry: Listed) -> str:
    letter = entry.found.letter
    fields = [
        iso_millis(letter.failed_at),
        str(entry.found.origin),
        letter.workspace_id or "-",
        letter.reason,
        blank_secrets(letter.detail).replace("\n", " "),
    ]
    if entry.redriven_at is not None:
        fields.append(f"redriven {iso_millis(entry.redriven_at)}")
    return "\t".join(fields)


def show(origin: str) -> int:
    """Print one letter with its payload, with everything like a token blanked; returns the exit code."""
    try:
        place = Origin.parse(origin)
    except ValueError as error:
        exit_with(str(error))
    with _connected() as stack:
        session = _Session(stack)
        found = session.letters.one(place)
        if found is None:
            exit_with(f"there is no dead letter of {place}; `tidemark dead-letters list` shows the origins", 1)
        shown = described(Listed(found, None))
        del shown["redriven_at"]
        shown["headers"] = {
            name: blank_secret_bytes(value).decode(errors="replace") for name, value in found.letter.headers.items()
        }
        shown["payload"] = readable(found.letter.payload, session.letters.raw_codec)
        print(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())
    return 0


def redrive(wanted: Filter, *, is_dry: bool) -> int:
    """Send the messages of the chosen letters again; returns the exit code."""
    with _connected() as stack:
        session = _Session(stack)
        bar = stack.enter_context(ProgressBar("redrive"))
        redrive = Redrive(session.settings, session.letters, session.reader, SystemClock())
        done = redrive.run(wanted, is_dry=is_dry, progress=bar.show)
        held = session.letters.reasons(wanted) if not done.by_reason else {}
    unknown = sorted(wanted.reasons - done.by_reason.keys()) if held or done.by_reason else []
    if not done.by_reason:
        matching = f"; there are: {', '.join(sorted(held))}" if held else ""
        exit_with(f"no dead letter matches{matching}", 1)
    for reason in unknown:
        print(f"tidemark: no dead letter has the reason {reason}", file=sys.stderr)
    for reason, count in sorted(done.by_reason.items()):
        print(f"{reason}\t{count}")
    for failure in done.failures:
        print(f"tidemark: {failure}", file=sys.stderr)
    total = sum(done.by_reason.values())
    if is_dry:
        print(f"would send {counted(total, 'message')} again", file=sys.stderr)
    else:
        print(
            f"sent {done.from_originals + done.from_payloads} of {counted(total, 'message')} again: "
            f"{done.from_originals} as received, {done.from_payloads} as kept in their dead letters",
            file=sys.stderr,
        )
    return 1 if done.failures else 0


@contextmanager
def _connected() -> Iterator[ExitStack]:
    """Connections of one command; ends the process with one line when Kafka or the registry can't be used."""
    try:
        with ExitStack() as stack:
            yield stack
    except (TopicUnreadable, RegistryUnavailable) as error:
        exit_with(str(error))
