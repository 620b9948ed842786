"""The support matrix says what the platforms' files and their golden answers say."""

from __future__ import annotations

import pytest

from infra.matrix import PAGE, render
from schemas.metrics import CHANNEL_NAMES, POST_NAMES
from services.platforms import all_platforms, platform
from services.query_api.tidemark.resources.capabilities import capabilities
from tests.unit.platforms import golden

NAMES = sorted(all_platforms())


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run `python -m infra.matrix`"


def test_every_platform_has_its_part() -> None:
    page = render()
    assert all(f"### {name}\n" in page for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_page_promises_is_in_some_golden_answer(name: str) -> None:
    shown = {
        metric
        for of_platform, case in golden.cases()
        if of_platform == name
        for post in golden.expected(name, case).get("posts", ())
        for metric, value in post["metrics"].items()
        if value is not None
    }
    assert set(POST_NAMES) - set(platform(name).facts.not_reported) <= shown


def channel_periods(name: str) -> dict[str, set[str]]:
    """For each channel metric that a platform's golden answers hold a figure of: the periods."""
    found: dict[str, set[str]] = {}
    for of_platform, case in golden.cases():
        for reading in golden.expected(name, case).get("channels", ()) if of_platform == name else ():
            for metric, value in reading["metrics"].items():
                if value is not None:
                    found.setdefault(metric, set()).add(reading["period"])
    return found


@pytest.mark.parametrize("name", NAMES)
def test_what_is_declared_of_a_channel_is_what_the_mapping_reads(name: str) -> None:
    declared = platform(name).facts.channel_metrics
    assert declared
    assert set(declared) <= set(CHANNEL_NAMES)
    assert channel_periods(name) == {metric: set(periods) for metric, periods in declared.items()}
    if any(periods != ("lifetime",) for periods in declared.values()):
        assert platform(name).facts.channel_lag


def _table(title: str) -> dict[tuple[str, str], str]:
    """The cells of one of the page's tables, by platform and metric."""
    lines = PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0].splitlines()
    head, _, *rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines if line[:1] == "|"]
    return {(name, row[0]): cell for row in rows for name, cell in zip(head[1:], row[1:], strict=True)}


def test_the_page_says_what_the_capabilities_say() -> None:
    words = {"lifetime": "now", "day": "days", "window": "ranges"}
    posts, channels = _table("Posts"), _table("Channels")
    answered = {(row["subject"], row["platform"], row["metric"]): row for row in capabilities()}
    assert len(answered) == len(posts) + len(channels)
    for (name, metric), cell in posts.items():
        assert (cell == "yes") is answered["post", name, metric]["supported"], (name, metric)
    for (name, metric), cell in channels.items():
        shown = {part.strip() for part in cell.split(",") if part}
        assert shown == {words[kind] for kind in answered["channel", name, metric]["kinds"]}, (name, metric)
    assert channels["instagram", "likes"] == "days, ranges"


@pytest.mark.parametrize("name", NAMES)
def test_post_figures_for_a_range_of_dates_are_declared(name: str) -> None:
    shown = {
        metric
        for of_platform, case in golden.cases()
        if of_platform == name
        for post in golden.expected(name, case).get("posts", ())
        for metric in post["ranged"]
    }
    assert shown <= set(platform(name).facts.ranged_metrics) <= set(POST_NAMES) - set(platform(name).facts.not_reported)
