"""The support matrix says what the platforms' files and their golden answers say."""

from __future__ import annotations

import pytest

from infra.matrix import PAGE, channel_periods, render
from schemas.metrics import CHANNEL_NAMES, POST_NAMES
from services.platforms import all_platforms, platform
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


@pytest.mark.parametrize("name", NAMES)
def test_every_platform_says_something_of_a_channel(name: str) -> None:
    assert channel_periods(name)


@pytest.mark.parametrize("name", NAMES)
def test_what_golden_answers_say_of_a_channel_is_declared(name: str) -> None:
    declared = platform(name).facts.channel_metrics
    assert set(declared) <= set(CHANNEL_NAMES)
    assert {period for periods in declared.values() for period in periods} <= {"lifetime", "day", "window"}
    for metric, periods in channel_periods(name).items():
        assert periods <= set(declared.get(metric, ())), metric
    if any(periods != ("lifetime",) for periods in declared.values()):
        assert platform(name).facts.channel_lag


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
