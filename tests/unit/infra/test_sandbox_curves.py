"""The sandbox's numbers and ids: pure, exact, growing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.sandbox.curves import ACCOUNT_CREATED_AT, level_value, metric_value, period_value
from infra.sandbox.ids import BEHAVIOURS, behaviour, make_id, published_at

PUBLISHED = 1_790_000_000_000
HOUR = 3_600_000
PLATFORMS = sorted(BEHAVIOURS)
SECONDS = st.integers(0, 10**8)


def likes(at: int, seed: int = 1, external_id: str = "a") -> int:
    return metric_value(seed, "x", external_id, "like_count", PUBLISHED, at)


@given(SECONDS, SECONDS)
def test_never_shrinks(first: int, more: int) -> None:
    assert likes(PUBLISHED + first * 1000) <= likes(PUBLISHED + (first + more) * 1000)


@given(SECONDS, st.integers(0, 999))
def test_constant_within_a_second(second: int, millis: int) -> None:
    assert likes(PUBLISHED + second * 1000) == likes(PUBLISHED + second * 1000 + millis)


def test_nothing_before_it_went_out() -> None:
    assert likes(PUBLISHED) == likes(PUBLISHED - HOUR) == 0


def test_the_same_on_every_machine() -> None:
    """Written down once: a change here changes what every recorded demo has shown."""
    assert [likes(PUBLISHED + hours * HOUR) for hours in (1, 24, 24 * 30)] == [1398, 9825, 13533]


def test_half_of_it_within_a_day_and_more_later() -> None:
    for external_id in map(str, range(50)):
        day, month, year = (likes(PUBLISHED + hours * HOUR, 1, external_id) for hours in (24, 720, 8760))
        assert 0 < day < month < year
        assert day > month // 3


def test_seed_and_id_choose_the_numbers() -> None:
    at = PUBLISHED + 24 * HOUR
    assert len({likes(at, seed) for seed in range(20)}) > 15
    assert len({likes(at, 1, str(n)) for n in range(20)}) > 15


def test_nobody_reacts_who_has_not_seen_it() -> None:
    at = PUBLISHED + 24 * HOUR
    for external_id in map(str, range(50)):
        seen = metric_value(1, "x", external_id, "impression_count", PUBLISHED, at)
        assert seen > likes(at, 1, external_id) > 0


@given(SECONDS, SECONDS, SECONDS)
def test_ranges_that_meet_add_up(first: int, more: int, most: int) -> None:
    a = ACCOUNT_CREATED_AT + first * 1000
    b, c = a + more * 1000, a + (more + most) * 1000

    def views(start: int, end: int) -> int:
        return period_value(1, "youtube", "UC1", "viewCount", start, end)

    assert views(a, b) + views(b, c) == views(a, c)
    assert views(c, a) == 0


@pytest.mark.parametrize("level", ["followers", "following", "posts"])
def test_levels_never_shrink(level: str) -> None:
    values = [level_value(1, "x", "1", level, PUBLISHED + days * 24 * HOUR) for days in range(30)]
    assert values == sorted(values)
    assert values[0] > 0


@pytest.mark.parametrize("platform", PLATFORMS)
@given(at=st.integers(1_600_000_000_000, 1_900_000_000_000), number=st.integers(0, 999))
def test_ids_carry_their_time(platform: str, at: int, number: int) -> None:
    made = make_id(platform, at, number)
    assert abs(published_at(platform, made) - at) <= 1
    for peculiar in BEHAVIOURS[platform].values():
        odd = make_id(platform, at, number, peculiar)
        assert behaviour(platform, odd) == peculiar
        assert abs(published_at(platform, odd) - at) <= 100


@pytest.mark.parametrize("platform", PLATFORMS)
def test_ids_of_one_instant_differ(platform: str) -> None:
    made = [make_id(platform, PUBLISHED, number) for number in range(1000)]
    assert len(set(made)) == 1000
    assert not [external_id for external_id in made if behaviour(platform, external_id)]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_no_post_is_peculiar_by_the_millisecond_that_it_went_out_in(platform: str) -> None:
    for at in range(PUBLISHED, PUBLISHED + 1000):
        made = make_id(platform, at, 1)
        assert behaviour(platform, made) == ""
        assert abs(published_at(platform, made) - at) <= 1


def test_a_number_that_is_an_ending_itself_makes_the_post_peculiar() -> None:
    assert behaviour("pinterest", make_id("pinterest", PUBLISHED, 40_404)) == "gone"


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(
    "external_id", ["", "1", "abc", "9" * 40, "dQw4w9WgXcQ", "at://x/y/zzzzzzzzzzzzz", "17" + "9" * 16]
)
def test_any_text_has_a_time(platform: str, external_id: str) -> None:
    at = published_at(platform, external_id)
    assert at == published_at(platform, external_id)
    assert 1_104_537_600_000 <= at < 4_102_444_800_000


def test_snowflakes_are_real() -> None:
    """Source: X's documentation, the post of 2020-02-14T19:00:55Z."""
    assert published_at("x", "1228393702244134912") // 1000 == 1_581_706_855
