"""The fenced blocks of a document, and one shell that runs them in order."""

from __future__ import annotations

import re
import secrets
import selectors
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: its language, its text, and the line on which the text begins."""

    language: str
    text: str
    line: int


def blocks(document: str) -> list[Block]:
    """Every fenced block, in order."""
    return [
        Block(found[1], found[2], document.count("\n", 0, found.start(2)) + 1) for found in _FENCE.finditer(document)
    ]


class Ran(NamedTuple):
    """What a block printed, on both streams, and its exit code: of the first command that failed, else 0."""

    code: int
    output: str


class Shell:
    """A POSIX shell that stays open, as a reader's does: what a block sets, the next one finds.

    Args:
        folder: where it runs, and where its blocks are written.
        seconds: for the longest block.
        name: begins the names of its blocks' files; two shells in a folder need two.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], seconds: float = 120, name: str = "block") -> None:
        self._folder = folder
        self._name = name
        self._seconds = seconds
        self._count = 0
        self._output = folder / f"{name}-0.out"
        self._process = subprocess.Popen(
            ["/bin/sh"], cwd=folder, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, bufsize=1,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def run(self, block: Block) -> Ran:
        """Run one block to its end; a command that fails ends it, as `set -e` says."""
        self._count += 1
        name = f"{self._name}-{self._count}.{'py' if block.language == 'python' else 'sh'}"
        (self._folder / name).write_text(block.text, encoding="utf-8")
        command = f".venv/bin/python ./{name}" if block.language == "python" else f". ./{name}"
        self._output = output = self._folder / f"{name}.out"
        mark = secrets.token_hex(8)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # The shell itself dies of a command that fails, after its trap has told the code.
        self._process.stdin.write(
            f"trap 'echo {mark} $?' EXIT; set -e; {command} > {output.name} 2>&1; set +e; trap - EXIT; echo {mark} 0\n"
        )
        told = _line_with(self._process, mark, self._seconds)
        return Ran(int(told.split()[1]), output.read_text(encoding="utf-8", errors="replace"))

    def said(self) -> str:
        """What the newest block has printed so far; another thread may ask while the block runs."""
        return self._output.read_text(encoding="utf-8", errors="replace") if self._output.exists() else ""


def _line_with(process: subprocess.Popen[str], mark: str, seconds: float) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                break
            line = process.stdout.readline()
            if line.startswith(mark):
                return line
            assert line, "the shell ended without a word"
    raise AssertionError(f"a block did not end within {seconds:.0f} s")
