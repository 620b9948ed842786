"""The pages in a browser over fakes: dead letters in memory, and answers that a view seldom meets. No engine runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from schemas.events import DeadLetter
from services.aggregator.dead_letters import Filter, Found, Listed, Origin
from services.aggregator.redrive import Redriven
from services.runtime.clock import SystemClock
from tests.support.browser import CHROMIUM, MISSING, Browsing, signed_in
from tests.support.query_api import ADMIN_KEY
from tests.support.served_pages import CHANNEL, SCRIPT, serving, unpolled

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)

WAIT_MS = 20_000
# More than a number of JavaScript can hold.
LONG = 9_007_199_254_740_993


class Topics:
    """Letters of one reason; a redrive sends the messages that nobody sent yet."""

    def __init__(self) -> None:
        self.redriven_at: int | None = None
        self.sent: list[Filter] = []

    def newest(self, limit: int) -> list[Listed]:
        now = SystemClock().now()
        return [
            Listed(
                Found(
                    DeadLetter(
                        SCRIPT, "body_not_json", f"detail {SCRIPT}", "platform.raw", 0, number, None, b"", now, {}
                    ),
                    Origin("platform.raw.dead-letters", 0, number),
                ),
                self.redriven_at,
            )
            for number in range(4)
        ]

    def with_payloads(self, letters: Sequence[Listed]) -> list[tuple[Listed, Any]]:
        return [(entry, {"body": SCRIPT, "id": LONG, "rate": 1.0}) for entry in letters]

    def redrive(self, wanted: Filter, *, is_dry: bool) -> Redriven:
        done = Redriven(by_reason={"body_not_json": 4})
        if not is_dry:
            self.sent.append(wanted)
            self.redriven_at = SystemClock().now() + 1_000
            done.from_originals, done.from_payloads = 3, 1
        return done

    def close(self) -> None:
        pass


@pytest.fixture
def served() -> Iterator[tuple[str, Topics]]:
    """The query API over fakes at an address, and its dead letters."""
    topics = Topics()
    with serving(topics) as origin:
        yield origin, topics


def test_letters_are_shown_as_text_and_sent_again_only_after_a_question(served: tuple[str, Topics]) -> None:
    origin, topics = served
    with Browsing() as browsing:
        page = browsing.page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        signed_in(page, f"{origin}/ops?view=dead-letters", ADMIN_KEY)
        card = page.locator("[data-kind=letters][data-id=body_not_json]")
        expect(card.locator("[data-metric=letters]")).to_have_attribute("data-value", "4")
        expect(card.locator("details")).to_have_count(3)
        card.locator("summary").first.click()
        expect(card.locator("pre").first).to_contain_text("<script>window.hacked=1</script>")
        expect(card.locator("pre").first).to_contain_text(f'"id": {LONG},\n  "rate": 1.0\n')
        assert page.evaluate("window.hacked") is None
        # Two Enters in a row ask and cancel, and the focus is where it was.
        opener = card.get_by_role("button", name="Send again…")
        opener.focus()
        page.keyboard.press("Enter")
        sends = card.get_by_role("button", name="Send 4 messages")
        expect(sends).to_be_visible()
        expect(card.get_by_role("button", name="Cancel")).to_be_focused()
        page.keyboard.press("Enter")
        expect(sends).to_have_count(0)
        expect(opener).to_be_focused()
        assert not topics.sent
        opener.click()
        sends.click()
        done = page.locator("[data-kind=redriven]")
        expect(done).to_contain_text("Sent 4 of 4 messages again")
        expect(done).to_be_focused()
        expect(done.locator("[data-metric=sent_as_received]")).to_have_attribute("data-value", "3")
        expect(done.locator("[data-metric=sent_as_kept]")).to_have_attribute("data-value", "1")
        expect(card.locator("[data-metric=redriven]")).to_have_attribute("data-value", "4")
        assert [wanted.reasons for wanted in topics.sent] == [frozenset({"body_not_json"})]
        assert {address[: len(origin)] for address in asked} == {origin}


def complaints_of(page: Page) -> list[str]:
    """What the page's scripts complain of from now on."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def test_before_the_first_poll_each_view_says_so(served: tuple[str, Topics]) -> None:
    origin, _ = served
    with Browsing() as browsing:
        page = browsing.page(width=360)
        page.set_default_timeout(WAIT_MS)
        complaints = complaints_of(page)
        page.route("**/tidemark/v1/**", unpolled)
        signed_in(page, f"{origin}/app?zone=UTC", "tm_live_somebodys")
        expect(page.locator(".fresh")).to_have_text(re.compile(r"First poll in 1[0-2] min"), timeout=WAIT_MS)
        expect(page.locator("[data-kind=tile][data-id=likes] [data-metric=likes]")).to_have_attribute("data-value", "")
        expect(page.get_by_text("Nothing known here yet")).to_be_visible()
        page.goto(f"{origin}/app?view=channels")
        row = page.locator("tr[data-id=c1]")
        expect(row.locator("[data-metric=followers]")).to_have_attribute("data-reason", "pending")
        expect(row).to_contain_text("never")
        page.goto(f"{origin}/app?view=channels&channel=c1&zone=UTC")
        expect(page.get_by_text("No answer yet", exact=True)).to_be_visible()
        expect(page.locator(".fresh")).to_contain_text("Not polled yet; next poll in")
        expect(page.get_by_text("Nothing known in this range")).to_be_visible()
        events = page.locator("tr[data-kind=event]")
        expect(events.first).to_contain_text("2 Jun 2026, 10:00")
        expect(events.first).to_contain_text("The connection works again")
        expect(events.last).to_contain_text("Token revoked")
        page.goto(f"{origin}/app?view=posts&post=p1&zone=UTC")
        expect(page.locator("[data-kind=post] [data-metric=likes]").first).to_have_attribute("data-reason", "pending")
        # What others wrote is only ever text, and never an address.
        assert page.evaluate("window.hacked") is None
        assert page.locator("a[href^='javascript']").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert not complaints


def test_answers_that_take_longer_than_changes_come_do_arrive(served: tuple[str, Topics]) -> None:
    origin, _ = served
    held: list[Route] = []
    with Browsing() as browsing:
        page = browsing.page()
        page.set_default_timeout(WAIT_MS)
        complaints = complaints_of(page)
        page.clock.install()
        page.route("**/tidemark/v1/**", unpolled)
        page.route("**/tidemark/v1/totals**", lambda route: held.append(route))
        signed_in(page, f"{origin}/app?zone=UTC", "tm_live_somebodys")
        expect(page.get_by_text("Nothing known here yet")).to_be_visible()
        # Without a stream the view looks again every 15 seconds.
        for _ in range(3):
            page.clock.run_for(16_000)
        assert len(held) == 1
        # What changed meanwhile is asked for once these answers are there.
        with page.expect_request("**/tidemark/v1/totals**"):
            unpolled(held[0])
        expect(page.locator("[data-kind=tile][data-id=likes]")).to_be_visible()
        assert not complaints


def test_all_pages_of_the_channels_are_read(served: tuple[str, Topics]) -> None:
    origin, _ = served

    def channels(route: Route) -> None:
        asked = parse_qs(urlsplit(route.request.url).query)
        page = int(asked.get("cursor", ["0"])[0])
        rows = [{**CHANNEL, "id": f"c{number}", "next_poll_at": None} for number in range(page * 2, page * 2 + 2)]
        body = {"data": rows, "next_cursor": str(page + 1) if page < 2 else None}
        route.fulfill(body=json.dumps(body), content_type="application/json")

    with Browsing() as browsing:
        page = browsing.page()
        page.set_default_timeout(WAIT_MS)
        page.route("**/tidemark/v1/**", unpolled)
        page.route("**/tidemark/v1/channels?**", channels)
        signed_in(page, f"{origin}/app?view=channels", "tm_live_somebodys")
        expect(page.locator("tr[data-kind=channel]")).to_have_count(6)


def test_whatever_an_address_says_a_view_is_drawn(served: tuple[str, Topics]) -> None:
    origin, _ = served
    with Browsing() as browsing:
        page = browsing.page()
        page.set_default_timeout(WAIT_MS)
        complaints = complaints_of(page)
        page.route("**/tidemark/v1/**", unpolled)
        signed_in(page, f"{origin}/app?zone=UTC", "tm_live_somebodys")
        for dates in (
            "from=2026-13-45&to=2026-99-99",
            "from=2026-02-30&to=2026-03-01",
            "from=9999-12-01&to=9999-12-31",
        ):
            page.goto(f"{origin}/app?zone=UTC&{dates}")
            expect(page.locator("[data-kind=tile][data-id=likes]")).to_be_visible()
        page.goto(f"{origin}/app?view=accounts&zone=Mars/Base")
        expect(page.locator("h1")).to_have_text("Accounts")
        expect(page.locator(".fresh")).to_have_text("0 connections of 1 without a problem")
        # Dates are taken in their order: while one is typed it may be before the other.
        with page.expect_request(lambda request: "/totals" in request.url) as asked:
            page.goto(f"{origin}/app?zone=UTC&from=2026-11-20&to=2026-11-10")
        assert parse_qs(urlsplit(asked.value.url).query)["from"] == ["2026-11-10"]
        assert not complaints
