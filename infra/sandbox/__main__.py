"""Run the sandbox: `python -m infra.sandbox --port 9800`."""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NoReturn

import uvicorn

from infra.sandbox.app import Sandbox
from infra.sandbox.channels import MOST_POSTS, PLATFORMS, lines
from infra.sandbox.state import Clock, State


def _instant(text: str) -> int:
    """ISO date or time, or whole seconds, as ms."""
    if text.isascii() and text.isdigit():
        return int(text) * 1000
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time, expected ISO or unix seconds") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


class _OneLine(argparse.ArgumentParser):
    """Refuses in one line, as every command of the project."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"tidemark: {message}\n")


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    made = _OneLine(prog="sandbox", description="Answers as the social platforms do.")
    made.add_argument("--host", default="127.0.0.1")
    made.add_argument("--port", type=int, required=True, help="0 takes a free one and prints it")
    made.add_argument("--seed", type=int, default=0, help="chooses every number")
    clock = made.add_mutually_exclusive_group()
    clock.add_argument("--clock-offset", type=float, default=0.0, help="seconds added to the machine's clock")
    clock.add_argument("--epoch", type=_instant, help="what the clock shows at the start: ISO or unix seconds")
    made.add_argument("--no-limits", action="store_true", help="count rate limits, but never enforce them")
    made.add_argument("--own-tokens", action="store_true", help="answer only for tokens that begin with sandbox-")
    made.add_argument("--served-limit", type=int, default=100_000, help="most served records kept in memory")
    return made


def channel_parser() -> argparse.ArgumentParser:
    """The command line of `channel`."""
    made = _OneLine(
        prog="sandbox channel",
        description="Prints a channel that the sandbox answers for, and posts on it, as lines for catalog apply.",
    )
    made.add_argument("platform", nargs="?", default="x", choices=PLATFORMS)
    made.add_argument("--workspace", default="acme")
    made.add_argument("--id", help="the channel's id; sandbox-<platform> by default")
    made.add_argument("--posts", type=int, default=1, help="how many posts, each an hour older than the one before")
    made.add_argument(
        "--culprits",
        type=int,
        help="how many more posts the platform refuses something of; by default one for each ten",
    )
    return made


def print_channel(arguments: Sequence[str]) -> int:
    """Print a channel and its posts, one JSON object a line."""
    options = channel_parser().parse_args(arguments)
    if not 0 <= options.posts <= MOST_POSTS:
        channel_parser().error(f"--posts {options.posts}: must be 0 to {MOST_POSTS}")
    if options.culprits is not None and not 0 <= options.culprits <= MOST_POSTS:
        channel_parser().error(f"--culprits {options.culprits}: must be 0 to {MOST_POSTS}")
    now = time.time_ns() // 1_000_000
    for line in lines(options.platform, options.workspace, options.id, options.posts, now, options.culprits):
        sys.stdout.write(json.dumps(line) + "\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; or, with `channel` first, print a channel to begin with."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["channel"]:
        return print_channel(given[1:])
    options = parser().parse_args(arguments)
    offset = int(options.clock_offset * 1000)
    if options.epoch is not None:
        offset = options.epoch - int(time.time() * 1000)
    state = State(
        options.seed, Clock(offset), not options.no_limits, options.served_limit, own_tokens=options.own_tokens
    )
    # A fault that resets the connection does it by an exception, which is no news: only warnings of uvicorn's own.
    config = uvicorn.Config(
        Sandbox(state),
        host=options.host,
        port=options.port,
        access_log=False,
        log_level="critical",
        lifespan="off",
        timeout_graceful_shutdown=3,
        server_header=False,
    )
    server = uvicorn.Server(config)
    try:
        listener = socket.create_server((options.host, options.port), backlog=2048)
    except (OSError, OverflowError) as error:
        sys.stderr.write(f"sandbox: can't listen on {options.host}:{options.port}: {error}\n")
        return 1
    sys.stdout.write(f"sandbox: http://{options.host}:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    server.run(sockets=[listener])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
