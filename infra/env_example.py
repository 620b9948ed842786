"""Writes `.env.example`: every setting with its default, in the words of the README's table of settings.

    python -m infra.env_example          writes it
    python -m infra.env_example --check  prints whether it is up to date, and changes nothing

Every setting is commented out, so that a copy named `.env` changes nothing until a line is edited.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from schemas.metrics import PLATFORMS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / ".env.example"
README = ROOT / "README.md"
_WIDTH = 118
_HEADER = """# Every setting of Tidemark. Copy this file to `.env` and edit a line to change a setting.
# The environment wins over `.env`.
# A setting that holds a secret may come from a file instead: NAME_FILE in place of NAME.
# Written by `python -m infra.env_example` from the README's table of settings; change the table instead.
"""
_EACH = "TIDEMARK_<PLATFORM>_"


class Row(NamedTuple):
    """A row of the table: names that share a meaning, and the default of each as the table shows it."""

    names: list[str]
    defaults: list[str]
    meaning: str


def rows(readme: str) -> list[Row]:
    """The README's table of settings."""
    found = []
    for line in readme.splitlines():
        if not line.startswith(("| `TIDEMARK_", "| `OTEL_")):
            continue
        names, defaults, meaning = (part.strip() for part in line.strip("|").split("|", 2))
        listed = re.findall(r"`([^`]+)`", names)
        shown = [part.strip() for part in defaults.split(",")]
        found.append(Row(listed, shown if len(shown) == len(listed) else [defaults] * len(listed), _plain(meaning)))
    return found


def _plain(text: str) -> str:
    """Markdown as a comment: of a link its address, and no quotes; the first word of prose is capitalized."""
    text = text.strip(" |")
    text = text if text.startswith("`") else text[:1].upper() + text[1:]
    return re.sub(r"\[[^\]]+\]\(([^)#]+)[^)]*\)", r"\1", text).replace("`", "")


def _setting(name: str, default: str) -> str:
    """A commented-out line; a default in words is no value, so the line has none."""
    value = default.strip("`")
    return f"#{name}={value if default.startswith('`') or value.isdigit() else ''}"


def _row(row: Row) -> Iterator[str]:
    in_words = dict.fromkeys(
        f"{default}" for default in row.defaults if default and not default.startswith("`") and not default.isdigit()
    )
    meaning = row.meaning
    if in_words:
        meaning += f" Default: {', '.join(in_words)}." if meaning.endswith(".") else f"; default: {', '.join(in_words)}"
    yield ""
    yield from textwrap.wrap(meaning, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    if not row.names[0].startswith(_EACH):
        yield from (_setting(*setting) for setting in zip(row.names, row.defaults, strict=True))
        return
    for platform in PLATFORMS:
        for name in row.names:
            yield _setting(name.replace("<PLATFORM>", platform.upper()), "")


def render(readme: str) -> str:
    """The text of the whole file."""
    return "\n".join([_HEADER.rstrip(), *(line for row in rows(readme) for line in _row(row))]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, or check it."""
    options = sys.argv[1:] if arguments is None else list(arguments)
    page = render(README.read_text(encoding="utf-8"))
    if "--check" in options:
        current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == page
        sys.stdout.write(f"{PAGE.name} is {'up to date' if current else 'out of date'}\n")
        return 0 if current else 1
    PAGE.write_text(page, encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.name}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
