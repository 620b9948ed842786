"""Writes `docs/platforms.md`: what polls of each platform bring, from the facts in the platforms' own files.

    python -m infra.matrix          writes it
    python -m infra.matrix --check  says whether it is up to date, and changes nothing

`/tidemark/v1/capabilities` answers from the same facts, and a test holds both against the golden answers. Nothing here
asks a platform.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from schemas.metrics import CHANNEL_NAMES, PLATFORMS, POST_NAMES
from services.platforms import all_platforms
from services.platforms.abilities import (
    AppClient,
    Configurable,
    Discovers,
    ExchangesTokens,
    PlatformSetting,
    Refreshable,
    RefreshCall,
)
from services.platforms.base import Channel, Platform

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "platforms.md"

_HEADER = """# What each platform reports

<!-- Written by `python -m infra.matrix`; change the platforms' files instead. -->

The tables show what polls ask for by themselves: each figure in them comes by a call that a test has seen. A metric
that a platform does not report is null in every answer, never 0. A metric that it reports can still be null for one
post: hidden by its owner, or not offered for that kind of post; the sections below say what each takes. What no poll
asks for is read all the same where somebody's answer on `platform.raw` has it. The files in `services/platforms/` say
how each figure is read, and what is uncertain about it.
"""
_PERIODS = {"lifetime": "now", "day": "days", "window": "ranges"}


class _Tokens:
    """Made-up tokens, to see where a refresh goes."""

    access_token = "access"
    refresh_token = "refresh"


def _platforms() -> list[Platform]:
    known = all_platforms()
    return [known[name] for name in PLATFORMS if name in known] + [
        known[name] for name in sorted(known) if name not in PLATFORMS
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _refresh(platform: Platform) -> str:
    """How its tokens are renewed, in words."""
    made_up = Channel("", "", "ACCOUNT")
    exchange = (
        platform.exchange_call(made_up, _Tokens(), AppClient()) if isinstance(platform, ExchangesTokens) else None
    )
    if exchange is not None:
        return f"none; a user's token is exchanged by `{exchange.method} {_address(platform, exchange)}`"
    call = platform.refresh_call(_Tokens(), AppClient()) if isinstance(platform, Refreshable) else None
    return "none" if call is None else f"`{call.method} {_address(platform, call)}`"


def _address(platform: Platform, call: RefreshCall) -> str:
    return f"{call.base_url or platform.facts.base_url}{call.path}"


def _posts(platforms: Sequence[Platform]) -> Iterator[str]:
    yield "\n## Posts\n"
    rows = [
        [f"`{metric}`", *("yes" if platform.facts.is_asked(metric) else "" for platform in platforms)]
        for metric in POST_NAMES
    ]
    yield from _table(["metric", *(platform.facts.name for platform in platforms)], rows)


def _channels(platforms: Sequence[Platform]) -> Iterator[str]:
    yield "\n## Channels\n"
    yield "now: a figure as it stands; days, ranges: figures of a day, or of a longer range of dates.\n"
    rows = []
    for metric in CHANNEL_NAMES:
        asked = [platform.facts.asked_periods(metric) for platform in platforms]
        rows.append(
            [
                f"`{metric}`",
                *(", ".join(word for period, word in _PERIODS.items() if period in found) for found in asked),
            ]
        )
    yield from _table(["metric", *(platform.facts.name for platform in platforms)], rows)


def _details(platforms: Sequence[Platform]) -> Iterator[str]:
    yield "\n## Platforms"
    for platform in platforms:
        facts = platform.facts
        yield f"\n### {facts.name}\n"
        yield f"- Documentation: <{facts.documentation}>, read {facts.read_on}"
        yield f"- Origin: `{facts.base_url}`"
        yield f"- Authorization: {facts.auth}"
        yield f"- Token refresh: {_refresh(platform)}"
        yield f"- Limits: {facts.rate_limit}"
        if isinstance(platform, Configurable):
            yield from _settings(platform.settings)
        if set(facts.not_reported) == set(POST_NAMES):
            yield f"- Posts: none; {next(iter(facts.not_reported.values()))}"
        else:
            yield f"- Posts in one request: {facts.post_batch_size}; late by: {facts.lag}"
            yield from _listed("Not of every post", facts.conditions)
            yield from _listed("Read, but no poll asks for it", facts.not_asked)
            yield from _listed("Not reported", facts.not_reported)
        yield from _listed("Not of every account", facts.channel_conditions)
        yield f"- Posts published elsewhere: {_discovery(platform)}"


def _discovery(platform: Platform) -> str:
    if not isinstance(platform, Discovers):
        return "not looked for"
    return platform.facts.discovery or "of every account"


def _settings(settings: Sequence[PlatformSetting]) -> Iterator[str]:
    for setting in settings:
        default = (
            f"default `{setting.default}`" if setting.default else "required" if setting.is_required else "not set"
        )
        yield f"- Setting: `TIDEMARK_{setting.name}`, {setting.expected}; {default}"


def _listed(title: str, words: Mapping[str, str]) -> Iterator[str]:
    if words:
        yield f"- {title}:"
        yield from (f"  - `{metric}`: {why}" for metric, why in words.items())


def render() -> str:
    """The text of the whole page."""
    platforms = _platforms()
    return "\n".join([_HEADER.rstrip(), *_posts(platforms), *_channels(platforms), *_details(platforms)]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or check it."""
    options = sys.argv[1:] if arguments is None else list(arguments)
    page = render()
    if "--check" in options:
        current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == page
        sys.stdout.write(f"{PAGE.relative_to(ROOT)} is {'up to date' if current else 'out of date'}\n")
        return 0 if current else 1
    PAGE.write_text(page, encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
