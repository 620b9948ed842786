"""Writes `docs/refusals.md`: how platforms refuse, from the sandbox's catalogue, and what Tidemark does then.

    python -m infra.refusals          writes it
    python -m infra.refusals --check  says whether it is up to date, and changes nothing

Nothing here asks a platform.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.sandbox.refusals import catalogue
from infra.sandbox.refusals.row import About, Effect, Refusal
from schemas.metrics import PLATFORMS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "refusals.md"

_HEADER = """# How platforms refuse

<!-- Written by `python -m infra.refusals`; change the rows in `infra/sandbox/refusals/` instead. -->

Each row is a refusal as the real platform answers it, with its source. The sandbox answers so, too, once a row is
switched on (`POST /_sandbox/refusals`, see `infra/sandbox/control.py`), and `tests/integration/poller/test_refusals.py`
holds a poller against every row: the healthy neighbours keep right figures, the calls are bounded, and all is polled
again after the refusal has ended.

A row is about one post (target), one figure (metric), how much is asked for at once (size), a way of asking (shape),
the token or its account (token), the pace or a quota (limit), or the server (host). `tidemark platforms check` shows
which of them a real account meets, and what mends it.
"""
_ABOUTS = {
    About.TARGET: "one post",
    About.METRIC: "one metric",
    About.SIZE: "size",
    About.SHAPE: "a way of asking",
    About.TOKEN: "token",
    About.LIMIT: "limit",
    About.HOST: "host",
}


def _answer(row: Refusal) -> str:
    """What comes, in a word or two."""
    if row.effect is Effect.UNFINISHED:
        return "`null` in a batch"
    if row.effect is Effect.SILENT:
        return "none"
    if row.effect is Effect.LEAVE_OUT:
        return "200, left out" + (", told in `errors`" if row.alter is not None else "")
    if row.effect is Effect.ALTER:
        return "200, without figures"
    return f"{row.status}, HTML" if isinstance(row.body, str) else str(row.status)


def _section(platform: str, rows: Sequence[Refusal]) -> Iterator[str]:
    yield f"\n## {platform}\n"
    yield "| refusal | about | answer | what Tidemark does | source |"
    yield "| --- | --- | --- | --- | --- |"
    for row in rows:
        asked = "" if not row.example else "; no call that Tidemark makes by default meets it"
        yield f"| `{row.name}` | {_ABOUTS[row.about]} | {_answer(row)} | {row.does}{asked} | {row.source} |"


def page() -> str:
    """The page as it should be."""
    lines = [_HEADER.rstrip("\n")]
    named = [*PLATFORMS, *sorted({row.platform for row in catalogue().values()} - set(PLATFORMS))]
    for platform in named:
        rows = [row for row in catalogue().values() if row.platform == platform]
        if rows:
            lines += _section(platform, rows)
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or with `--check` compare it; returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given == ["--check"]:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
            return 0
        sys.stderr.write(f"{PAGE.relative_to(ROOT)} is not up to date; run `python -m infra.refusals`\n")
        return 1
    if given:
        sys.stderr.write(f"tidemark: {given[0]!r} is no option of this command; there is --check\n")
        return 2
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
