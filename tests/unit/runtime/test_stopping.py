"""SIGTERM ends a command as Ctrl-C does: every `finally` runs, one line is printed, and the exit code tells which."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from services.runtime import stopping

# Runs the real command line, with the body of one command replaced.
COMMAND = """
import signal, sys, time, types
# Reading every setting of every service takes a while.
sys.modules["services.configuration"] = types.SimpleNamespace(check_environment=list)
{before}
import services.cli as cli
import services.commands.{module} as commands
from pathlib import Path

def usable(*_, **__):
    pass

commands.usable = usable
import {body_module} as body_module

def body(*arguments, **named):
{body}

body_module.{name} = body
cli.main()
"""
WRITES = """
    from services.aggregator.backup import command
    from services.aggregator.backup.archive import Writer
    def work(show):
        with Writer(Path(sys.argv[-1])) as writer:
            writer.add("topics/a.ndjson", [(b"token ciphertexts", 1)])
            print("ready", flush=True)
            time.sleep(60)
    command._told(work, "no file was made")
"""
SLEEPS = """
    print("ready", flush=True)
    time.sleep(60)
"""
ASYNC = """
    import asyncio
    async def work():
        try:
            print("ready", flush=True)
            await asyncio.sleep(60)
        finally:
            print("cleaned", flush=True)
    asyncio.run(work())
"""
BACKUP = "services.aggregator.backup.command"
IGNORING = "signal.signal(signal.SIGINT, signal.SIG_IGN)"


def stopped(
    number: signal.Signals, module: str, body_module: str, name: str, body: str, arguments: Sequence[str],
    folder: Path, before: str = "",
) -> tuple[int, str, str]:  # fmt: skip
    """Exit code, output and error output of a command that a signal ends while it works."""
    code = COMMAND.format(module=module, body_module=body_module, name=name, body=body, before=before)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TIDEMARK_")}
    running = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
        env={**environment, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n", running.stderr.read() if running.stderr else ""
    running.send_signal(number)
    out, err = running.communicate(timeout=30)
    return running.returncode, out, err


@pytest.mark.parametrize(
    ("number", "before", "code"),
    [(signal.SIGINT, "", 130), (signal.SIGTERM, IGNORING, 143)],
)
def test_a_stopped_backup_leaves_no_file(number: signal.Signals, before: str, code: int, tmp_path: Path) -> None:
    found = stopped(
        number, "backup", BACKUP, "run_create", WRITES, ("backup", "create", str(tmp_path / "b")), tmp_path, before
    )
    assert found == (code, "", "tidemark: stopped; no file was made\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code", "body"),
    [(signal.SIGTERM, 143, SLEEPS), (signal.SIGINT, 130, SLEEPS), (signal.SIGTERM, 143, ASYNC)],
)
def test_any_command_ends_with_one_line(number: signal.Signals, code: int, body: str, tmp_path: Path) -> None:
    found = stopped(
        number, "keys", "services.commands.keys", "ask", body, ("keys", "list", "acme", "--admin-key", "k"), tmp_path
    )
    assert found == (code, "cleaned\n" if body is ASYNC else "", "tidemark: stopped\n")


def test_handlers_are_as_before_afterwards() -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with pytest.raises(KeyboardInterrupt), stopping.stoppable():
        signal.raise_signal(signal.SIGTERM)
    assert stopping.exit_code() == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with pytest.raises(KeyboardInterrupt), stopping.stoppable():
        signal.raise_signal(signal.SIGINT)
    assert stopping.exit_code() == 130


def test_a_handler_that_is_there_stays() -> None:
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        with stopping.stoppable():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [signal.SIGTERM]
