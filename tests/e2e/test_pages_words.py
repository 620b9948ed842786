"""What the pages say of addresses, polls that were refused, and letters that fail again. No engine runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import CHROMIUM, MISSING, Browsing, signed_in
from tests.support.served_pages import CHANNEL, METRICS, NONE, POST, Answers, serving

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)

WAIT_MS = 20_000
KEY = "tm_live_somebodys"
REFUSED: dict[str, Any] = {"reasons": dict.fromkeys(METRICS, "error")}


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """The origin of the pages."""
    with serving() as found:
        yield found


@pytest.fixture
def answers() -> Answers:
    """What the API answers in a test."""
    return Answers()


@pytest.fixture
def page(answers: Answers) -> Iterator[Page]:
    """A page whose reads are answered by `answers`; nothing in it may fail."""
    with Browsing() as browsing:
        found = browsing.page()
        found.set_default_timeout(WAIT_MS)
        complaints: list[str] = []
        found.on("pageerror", lambda error: complaints.append(str(error)))
        found.route("**/tidemark/v1/**", answers)
        found.route("**/admin/v1/**", answers)
        yield found
        assert not complaints


def asked(answers: Answers, path: str) -> dict[str, str]:
    """The parameters of the last question to a path of the API."""
    address = next(one for one in reversed(answers.asked) if f"/tidemark/v1/{path}?" in one)
    return {name: found[-1] for name, found in parse_qs(urlsplit(address).query).items()}


def test_a_search_and_a_sorted_column_hold_together(origin: str, page: Page, answers: Answers) -> None:
    answers.bodies["top/posts"] = {"data": [{**POST, "id": "p7"}], "next_cursor": None}
    signed_in(page, f"{origin}/app?view=posts&zone=UTC&search=tide", KEY)
    expect(page.locator("tr[data-id=p1]")).to_be_visible()
    assert asked(answers, "posts")["search"] == "tide"
    page.get_by_role("link", name="Likes", exact=True).click()
    expect(page.locator("tr[data-id=p7]")).to_be_visible()
    assert asked(answers, "top/posts").items() >= {"search": "tide", "metric": "likes"}.items()
    search = page.get_by_label("Search posts")
    expect(search).to_have_value("tide")
    search.fill("moon")
    with page.expect_request(lambda request: "/top/posts" in request.url and "search=moon" in request.url):
        page.keyboard.press("Enter")
    assert parse_qs(urlsplit(page.url).query).items() >= {"search": ["moon"], "sort": ["likes"]}.items()
    answers.bodies["top/posts"] = {"data": [], "next_cursor": None}
    page.reload()
    expect(page.locator("main .empty")).to_contain_text("with this figure has this in its text")


def test_who_is_refused_at_the_first_poll_is_not_called_unpolled(origin: str, page: Page, answers: Answers) -> None:
    refused, unpolled = {**CHANNEL, **REFUSED}, {**CHANNEL, "id": "c2"}
    answers.bodies |= {"channels": {"data": [refused, unpolled], "next_cursor": None}, "channels/c1": refused}
    answers.bodies["posts/p1"] = {**POST, **REFUSED}
    signed_in(page, f"{origin}/app?view=accounts&zone=UTC", KEY)
    cards = page.locator("main .card")
    expect(cards.filter(has_text="Polls that fail").locator("[data-id]")).to_have_attribute("data-id", "c1")
    expect(cards.filter(has_text="Waiting for the first").locator("[data-id]")).to_have_attribute("data-id", "c2")
    expect(page.locator("main .fresh")).to_have_text("0 connections of 2 without a problem")
    for address in ("view=channels&channel=c1", "view=posts&post=p1"):
        page.goto(f"{origin}/app?zone=UTC&{address}")
        expect(page.locator("main .fresh").first).to_contain_text("the platform refused the last poll")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("from=2026-11-01&to=2199-12-31", "two dates that exist, from and to, of 1970 to 2199"),
        ("from=1900-01-01&to=2026-12-01", "two dates that exist, from and to, of 1970 to 2199"),
        ("range=99d", "There is no range “99d”"),
    ],
)
def test_a_range_that_cannot_be_had_is_said(
    origin: str, page: Page, answers: Answers, address: str, words: str
) -> None:
    signed_in(page, f"{origin}/app?zone=UTC&{address}", KEY)
    expect(page.locator("main .notice.warn")).to_contain_text(words)
    expect(page.locator("[data-kind=tile]").first).to_be_visible()
    assert "to" not in asked(answers, "totals")


def test_the_last_date_of_the_picker_is_one_of_the_api(origin: str, page: Page, answers: Answers) -> None:
    signed_in(page, f"{origin}/app?zone=UTC&from=2026-11-01&to=2026-11-02", KEY)
    field = page.get_by_label("To", exact=True)
    last = field.get_attribute("max")
    assert last is not None
    field.fill(last)
    page.wait_for_url(f"**to={last}**")
    expect(page.locator("[data-kind=tile]").first).to_be_visible()
    assert "2199-12-29" < asked(answers, "totals")["to"] < "2200"
    expect(page.locator("main .notice")).to_have_count(0)


def test_growth_that_is_not_known_is_not_called_an_answer(origin: str, page: Page, answers: Answers) -> None:
    answers.bodies["totals"] = {"metrics": dict.fromkeys(METRICS, NONE)}
    signed_in(page, f"{origin}/app?zone=UTC", KEY)
    followers = page.locator("[data-kind=tile][data-id=followers] [data-metric=followers]")
    expect(followers).to_have_attribute("data-reason", "no_growth")
    page.get_by_role("link", name="Posts published", exact=True).click()
    expect(page.locator("[data-kind=tile] [data-metric=likes]")).to_have_attribute("data-reason", "no_answer")


def test_letters_that_fail_again_are_seen(origin: str, page: Page, answers: Answers) -> None:
    letters = {
        "reason": "unknown_endpoint", "letters": 1, "workspaces": 1, "newest_at": "2026-12-01T10:00:00Z",
        "redriven": 0, "examples": [],
    }  # fmt: skip
    answers.bodies["dead-letters"] = {"data": [letters], "looked_at": 1, "most": 1000}
    done = {"messages": 1, "sent_as_received": 1, "sent_as_kept": 0, "failed": 0, "failures": []}
    answers.bodies["dead-letters/redrive"] = done
    signed_in(page, f"{origin}/ops?view=dead-letters", KEY)
    page.clock.install()
    page.get_by_role("button", name="Send again…").click()
    page.get_by_role("button", name="Send 1 message").click()
    expect(page.locator("[data-kind=redriven]")).to_be_focused()
    answers.bodies["dead-letters"] = {"data": [{**letters, "letters": 2}], "looked_at": 2, "most": 1000}
    page.clock.run_for(4_000)
    figure = page.locator("[data-kind=letters][data-id=unknown_endpoint] [data-metric=letters]")
    expect(figure).to_have_attribute("data-value", "2")
    expect(page.locator("[data-kind=redriven]")).to_be_focused()


def test_a_link_says_where_it_leads(origin: str, page: Page, answers: Answers) -> None:
    targets = [{**POST["targets"][0], "permalink": "https://x.com:pass@evil.example/x.com"}]
    answers.bodies["posts/p1"] = {**POST, "targets": targets}
    signed_in(page, f"{origin}/app?zone=UTC&view=posts&post=p1", KEY)
    link = page.locator("tr[data-kind=target] a")
    expect(link).to_have_text("open at evil.example")
    expect(link).to_have_attribute("rel", "noopener noreferrer")


def test_the_channels_with_the_most_followers_come_first(origin: str, page: Page, answers: Answers) -> None:
    figures = {f"c{number:02}": None if number < 3 else number * 10 for number in range(14)}
    listed = [
        {**CHANNEL, "id": id_, "metrics": {**CHANNEL["metrics"], "followers": count}} for id_, count in figures.items()
    ]
    answers.bodies["channels"] = {"data": listed, "next_cursor": None}
    signed_in(page, f"{origin}/app?zone=UTC", KEY)
    rows = page.locator("tr[data-kind=channel]")
    expect(rows).to_have_count(12)
    shown = [row.get_attribute("data-id") for row in rows.all()]
    assert shown == [f"c{number:02}" for number in (13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 0)]
