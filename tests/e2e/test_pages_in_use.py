"""The pages as somebody uses them: keys, steps back, figures that age, answers that stay away. No engine runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect

from services.query_api.admin.models import STATUS
from services.query_api.pages.files import version
from services.runtime.instants import start_of_day
from tests.support.browser import CHROMIUM, MISSING, Browsing, signed_in
from tests.support.served_pages import CHANNEL, METRICS, NONE, POST, Answers, operators_figures, serving
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)

WAIT_MS = 20_000
KEY = "tm_live_somebodys"
REFUSED: dict[str, Any] = {"reasons": dict.fromkeys(METRICS, "error")}
RIGHT_TO_LEFT = "שלום (עולם) 2026"
FIGURES = """() => [...document.querySelectorAll("main [data-metric]")].map((one) => [
    one.closest("[data-kind]")?.dataset.kind ?? "", one.closest("[data-id]")?.dataset.id ?? "",
    one.dataset.metric, one.dataset.value])"""
# Texts with digits that are no figure of the page.
BARE = """() => {
    const found = [];
    const walk = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const { data, parentElement } = walk.currentNode;
        if (/\\d/.test(data) && !parentElement.closest("[data-metric], thead, code")) found.push(data.trim());
    }
    return found;
}"""


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """The origin of the pages."""
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def browsing() -> Iterator[Browsing]:
    """One browser for all tests of this file."""
    with Browsing() as found:
        yield found


@pytest.fixture
def answers() -> Answers:
    """What the API answers in a test."""
    return Answers()


@pytest.fixture
def page(browsing: Browsing, answers: Answers) -> Iterator[Page]:
    """A page whose reads are answered by `answers`; nothing in it may fail."""
    found = browsing.page(height=600)
    found.set_default_timeout(WAIT_MS)
    complaints: list[str] = []
    found.on("pageerror", lambda error: complaints.append(str(error)))
    found.route("**/tidemark/v1/**", answers)
    found.route("**/admin/v1/**", answers)
    yield found
    found.context.close()
    assert not complaints


def posts(first: int, count: int, **more: Any) -> list[dict[str, Any]]:
    """Posts without figures, by number."""
    targets = [{**POST["targets"][0], "content": "Low tide at six"}]
    return [{**POST, "id": f"p{number}", "targets": targets, **more} for number in range(first, first + count)]


def pages_of_posts(route: Any) -> dict[str, Any]:
    """Two pages of posts."""
    is_second = "cursor=" in route.request.url
    return {"data": posts(40 if is_second else 0, 40), "next_cursor": None if is_second else "2"}


def scrolled(page: Page) -> float:
    """How far the page is scrolled, pixels."""
    return float(page.evaluate("scrollY"))


def test_a_typed_date_is_taken_once_and_a_visit_to_own_ranges_is_one_step_back(origin: str, page: Page) -> None:
    signed_in(page, f"{origin}/app?view=posts&zone=UTC&range=7d", KEY)
    page.locator("details.dates summary").click()
    entries = page.evaluate("history.length")
    page.get_by_label("From", exact=True).focus()
    # The same in each order of days and months; each digit of the year makes another date.
    page.keyboard.type("11112025")
    assert page.evaluate("[history.length, location.search]") == [entries, "?view=posts&zone=UTC&range=7d"]
    page.keyboard.press("Enter")
    page.wait_for_url("**from=2025-11-11**")
    page.get_by_label("To", exact=True).focus()
    page.keyboard.type("12122025")
    page.get_by_role("heading", level=1).click()
    page.wait_for_url("**to=2025-12-12**")
    assert page.evaluate("history.length") == entries + 1
    # A date that is chosen in the calendar comes without keys.
    page.get_by_label("From", exact=True).fill("2025-10-10")
    page.wait_for_url("**from=2025-10-10**")
    page.go_back()
    expect(page.locator(".choice [aria-current]")).to_have_text("7 days")
    # By keys each platform on the way is chosen.
    page.get_by_label("Platform").focus()
    page.keyboard.type("In")
    page.wait_for_url("**platform=instagram**")
    page.keyboard.press("ArrowDown")
    page.wait_for_url("**platform=tiktok**")
    page.go_back()
    expect(page.get_by_label("Platform")).to_have_value("")


def test_figures_stay_until_the_newer_ones_come_but_not_those_of_another_range(
    origin: str, page: Page, answers: Answers
) -> None:
    def totals(likes: int) -> dict[str, Any]:
        return {"metrics": {name: {"value": likes, "previous": None, "change": None} for name in METRICS}}

    answers.bodies["totals"] = totals(5)
    answers.bodies["top/posts"] = {"data": posts(0, 1), "next_cursor": None}
    page.clock.install(time=datetime(2026, 12, 1, 12, 0, 20, tzinfo=UTC))
    with page.expect_request("**/totals**") as first:
        signed_in(page, f"{origin}/app?zone=UTC&range=24h", KEY)
    likes = page.locator("[data-kind=tile][data-id=likes] [data-metric=likes]")
    expect(likes).to_have_attribute("data-value", "5")
    answers.held = {"totals": [], "top/posts": [], "posts": [], "series": []}

    def is_later(request: Any) -> bool:
        return "/totals" in request.url and begin(request.url) > begin(first.value.url)

    with page.expect_request(is_later):
        page.clock.run_for(61_000)
    expect(page.locator("main .loading")).to_have_count(0)
    expect(likes).to_have_attribute("data-value", "5")
    expect(page.locator("tr[data-id=p0]")).to_be_visible()
    answers.bodies["totals"] = totals(6)
    answers.release("totals")
    expect(likes).to_have_attribute("data-value", "6")
    # What was chosen anew is never shown with the figures of before.
    answers.held["totals"] = []
    page.get_by_role("link", name="7 days").click()
    expect(page.locator("main .loading").first).to_be_visible()
    expect(page.locator("[data-kind=tile]")).to_have_count(0)
    expect(page.locator("tr[data-id=p0]")).to_have_count(0)


def begin(address: str) -> int:
    """The first instant that a request asks for, seconds."""
    return int(parse_qs(urlsplit(address).query)["from"][0])


ACCOUNTS: dict[str, Any] = {
    "by_status": {"active": 1041, "token_expired": 0},
    "workspaces": 17,
    "waiting": 0,
    "data": [],
}
NO_LETTERS = {"looked_at": 0, "most": 500, "data": []}


def installation() -> dict[str, Any]:
    """A status with all that `/ops` shows."""
    found = deepcopy(STATUS)
    found["services"]["aggregator"] |= {
        "events_per_second": 0.1,
        "rows_per_second": 40.0,
        "batch_seconds": {"p50": 0.25, "p99": None},
    }
    platform = {
        **dict.fromkeys(("targets", "due", "overdue", "stale", "in_flight"), 1204),
        "tokens_waiting": 2,
        "freshness": 0.52,
        "calls_per_second": 1.0,
        "errors": {"timeout": 12_345, "rate_limited": 3},
        "budget_left": {"posts": 9_007_199_254_740_993, "accounts": 12},
        "budget_closed_seconds": {"posts": 90.5},
        "spent_usd": 12.34,
        "money_left_usd": None,
        "spending_forecast_usd": 20.0,
        "spent_usd_by_workspace": {"acme": 12.0},
    }
    refused = {"platform": "x", "shape": "posts.private", "outcome": "forbidden", "detail": "scope", "channels": 41}
    found["services"]["poller"] = {
        "readiness": "ready",
        "memory_bytes": 123_456_789,
        "events_per_second": 0.2,
        "late_seconds": {"p50": 2.5, "p99": 10.0},
        "platforms": {"x": platform},
        "refused_shapes": [{**refused, "since": "2026-12-01T00:00:00+00:00"}],
    }
    found["kafka"]["lag"][0] |= {"lag": 3, "waits_seconds": 2.0}
    return found


@pytest.mark.parametrize("view", ["health", "platforms", "accounts"])
def test_each_number_of_operators_is_the_admin_apis(origin: str, page: Page, answers: Answers, view: str) -> None:
    accounts = {**ACCOUNTS, "waiting": 137}
    waiting = {"workspace_id": "acme", "channel_id": "c1", "platform": "x", "status": "revoked", "username": "sea"}
    accounts["data"] = [{**waiting, "updated_at": "2026-12-01T00:00:00Z"}]
    answers.bodies |= {"status": installation(), "accounts": accounts, "dead-letters": NO_LETTERS}
    signed_in(page, f"{origin}/ops?view={view}", KEY)
    expect(page.locator("main [data-metric]").first).to_be_visible()
    expect(page.locator("main .loading")).to_have_count(0)
    known = operators_figures(
        *(json.loads(json.dumps(one), parse_int=str, parse_float=str) for one in (installation(), accounts))
    )
    shown = {(kind, row, metric): value for kind, row, metric, value in page.evaluate(FIGURES)}
    assert shown == {at: known[at] or "" for at in shown}
    assert len(shown) > {"health": 20, "platforms": 15, "accounts": 3}[view]
    # What is left are ages, names of partitions and of their owner, and the name of a quantile.
    bare = [
        text
        for text in page.evaluate(BARE)
        if not re.fullmatch(r"[\d, ]+|.*\bago\.?|.* ago: .*|Answer to visible, 99|aggregator-0", text)
    ]
    assert not [text for text in bare if text != "(docs/operations.md, “At 3 a.m.”)"]
    if view == "health":
        expect(page.locator("[data-kind=flow] [data-metric=events_per_second]")).to_have_attribute("data-value", "0.3")


def test_a_verdict_tells_its_age_while_the_status_cannot_be_read(origin: str, page: Page, answers: Answers) -> None:
    answers.bodies |= {"status": STATUS, "accounts": ACCOUNTS, "dead-letters": NO_LETTERS}
    page.clock.install(time=datetime(2026, 12, 1, 12, 0, 20, tzinfo=UTC))
    signed_in(page, f"{origin}/ops", KEY)
    expect(page.locator("[data-health=good]")).to_contain_text("Everything is healthy")
    answers.bodies["status"] = 503
    page.clock.run_for(150_000)
    verdict = page.locator("[data-health=unknown]")
    expect(verdict).to_contain_text("The status can't be read now.")
    expect(verdict).to_contain_text("When it was last read: Everything is healthy")
    expect(verdict.locator(".age")).to_have_text(re.compile(r"Last read [23] min\.? ago\."))
    expect(page.locator("main .notice.bad")).to_contain_text("The status can't be read right now. Not now.")
    assert page.evaluate(
        "document.querySelector('h1').compareDocumentPosition(document.querySelector('main .notice.bad'))"
        " & Node.DOCUMENT_POSITION_FOLLOWING"
    )
    answers.bodies["status"] = STATUS
    page.clock.run_for(70_000)
    expect(page.locator("[data-health=good]")).to_be_visible()
    expect(page.locator("main .notice.bad")).to_have_count(0)
    # A frozen server takes the request and never answers.
    answers.held["status"] = []
    held = answers.held["status"]

    def is_asked() -> bool:
        # The page asks some seconds after its last answer, which may have come after the clock was set forward.
        page.clock.run_for(1_000)
        return bool(held)

    wait_until(is_asked, 20, "the page asks for the status again")
    page.clock.run_for(31_000)
    expect(verdict).to_contain_text("The status can't be read now.")
    page.clock.run_for(90_000)
    expect(page.locator("main .notice.bad")).to_contain_text("The server can't be reached.")


@pytest.mark.parametrize("name", ["constructor", "toString", "__proto__"])
def test_ids_may_be_names_that_scripts_know(origin: str, page: Page, answers: Answers, name: str) -> None:
    now = datetime.now(UTC).isoformat()
    answers.bodies["posts"] = {
        "data": [{**POST, "id": each, "published_at": now, "captured_at": now} for each in (name, "p1")],
        "next_cursor": None,
    }
    signed_in(page, f"{origin}/app?view=posts&zone=UTC", KEY)
    expect(page.locator(f"tr[data-id={name}] td.line")).to_have_count(1)
    expect(page.locator("tr[data-kind=post]")).to_have_count(2)


def test_an_operator_signs_in_while_the_server_cannot_tell(origin: str, page: Page, answers: Answers) -> None:
    answers.bodies |= {"status": 503, "accounts": 503, "dead-letters": 503}
    signed_in(page, f"{origin}/ops", KEY)
    expect(page.get_by_text("The status can't be read right now.")).to_be_visible()
    assert page.evaluate("sessionStorage.getItem('tidemark.admin')") == KEY
    answers.bodies |= {"status": STATUS, "accounts": ACCOUNTS, "dead-letters": NO_LETTERS}
    # The next try comes after 5 s.
    expect(page.locator("[data-health=good]")).to_be_visible(timeout=WAIT_MS)


def test_a_raw_answer_is_shown_digit_by_digit(origin: str, page: Page, answers: Answers) -> None:
    answer = '{"id":12345678901234567890,"rate":1.0,"small":1E-7,"10":[],"2":{"text":"a \\"b\\": {1}"},"all":[-0,null]}'
    event = {"event_id": "e1", "captured_at": "2026-12-01T00:00:00Z", "is_held": False}
    mapping = {"module": "platforms.x", "documentation": None, "read_on": None}
    part = {"target_id": "t1", "metric": "likes", "value": 1, "hidden": False, "reason": None, "event": event}
    told = {"metric": "likes", "value": 1, "rule": "the sum", "parts": [{**part, "answer": "HERE", "mapping": mapping}]}
    answers.bodies["posts/p1/explain"] = json.dumps(told).replace('"HERE"', answer)
    signed_in(page, f"{origin}/app?view=posts&post=p1&explain=likes&zone=UTC", KEY)
    expect(page.locator("article[data-kind=part] pre")).to_have_text(
        '{\n  "id": 12345678901234567890,\n  "rate": 1.0,\n  "small": 1E-7,\n  "10": [],\n'
        '  "2": {\n    "text": "a \\"b\\": {1}"\n  },\n  "all": [\n    -0,\n    null\n  ]\n}',
        use_inner_text=True,
    )
    # Who closes the explanation is back at the figure.
    page.get_by_role("link", name="Close").click()
    expect(page.locator("dl.totals a:has([data-metric=likes])")).to_be_focused()


def test_ages_move_with_the_clock_alone(origin: str, page: Page, answers: Answers) -> None:
    now = datetime(2026, 12, 1, 12, 0, 20, tzinfo=UTC)
    times = {"captured_at": now.isoformat(), "next_poll_at": (now + timedelta(minutes=90)).isoformat()}
    answers.bodies["channels/c1"] = {**CHANNEL, **times, "username": RIGHT_TO_LEFT}
    # A stream without changes: nothing else draws the view anew.
    answers.held["stream"] = []
    page.clock.install(time=now)
    signed_in(page, f"{origin}/app?view=channels&channel=c1&zone=UTC", KEY)
    expect(page.locator(".fresh")).to_have_text(re.compile(r"As of (now|\d sec\.? ago); next poll in"))
    asked = len(answers.asked)
    page.clock.run_for(3 * 60_000)
    expect(page.locator(".fresh")).to_have_text(re.compile(r"As of 3 min\.? ago; next poll in"))
    page.clock.run_for(120 * 60_000)
    expect(page.locator(".fresh")).to_have_text(re.compile(r"As of 2 hr?\.? ago; next poll is due"))
    assert len(answers.asked) == asked
    expect(page.locator("h1 bdi")).to_have_text(RIGHT_TO_LEFT)
    assert page.title() == f"{RIGHT_TO_LEFT} · Tidemark"


def test_who_navigates_keeps_place_and_focus(origin: str, page: Page, answers: Answers) -> None:
    answers.bodies["posts"] = pages_of_posts
    text = f"\n \n{RIGHT_TO_LEFT}\nand more"
    answers.bodies["posts/p30"] = {**POST, "id": "p30", "targets": [{**POST["targets"][0], "content": text}]}
    signed_in(page, f"{origin}/app?view=posts&zone=UTC", KEY)
    expect(page.locator("h1")).to_be_focused()
    page.locator("tr[data-id=p30] a.post").scroll_into_view_if_needed()
    at = scrolled(page)
    assert at > 500
    page.locator("tr[data-id=p30] a.post").click()
    expect(page.locator("h1")).to_have_text(RIGHT_TO_LEFT)
    expect(page.locator("h1")).to_be_focused()
    assert scrolled(page) == 0
    assert page.title() == f"{RIGHT_TO_LEFT} · Tidemark"
    page.go_back()
    expect(page.locator("tr[data-id=p30]")).to_be_in_viewport()
    page.wait_for_function("(at) => Math.abs(scrollY - at) < 2", arg=at)
    expect(page.locator("h1")).to_be_focused()
    assert page.title() == "Posts · Tidemark"
    page.wait_for_function("(at) => history.state.scrolled === at", arg=at)
    page.reload()
    page.wait_for_function("(at) => Math.abs(scrollY - at) < 2", arg=at)
    page.get_by_role("link", name="Next page").click()
    table = page.locator("main .scroll.card")
    expect(page.locator("tr[data-id=p40]")).to_be_in_viewport()
    expect(table).to_be_focused()
    top = table.bounding_box()
    assert top is not None
    assert 50 < top["y"] < 150
    page.get_by_role("link", name="Likes").focus()
    page.keyboard.press("Enter")
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Likes")
    expect(page.get_by_text("No posts here")).to_be_visible()
    page.go_back()
    expect(page.locator("tr[data-id=p40]")).to_be_visible()
    # A head of a table stays under the hand that sorts by it.
    answers.bodies["top/posts"] = pages_of_posts
    page.get_by_role("link", name="Likes").focus()
    page.keyboard.press("Enter")
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Likes")
    expect(page.locator("tr[data-id=p0]")).to_be_visible()
    expect(page.get_by_role("link", name="Likes")).to_be_focused()


@pytest.mark.parametrize(
    "zone", ["America/Santiago", "America/Havana", "Atlantic/Azores", "Pacific/Apia", "Europe/Berlin"]
)
def test_lists_begin_when_the_apis_days_do(origin: str, page: Page, zone: str) -> None:
    tz, first = ZoneInfo(zone), date(1995, 1, 1)
    days = [first + timedelta(days=number) for number in range(365 * 35)]
    begins = [start_of_day(day, tz) for day in days]
    # Around each change of the clock.
    near = {n + by for n, (a, b) in enumerate(pairwise(begins)) if b - a != 86_400_000 for by in (-1, 0, 1, 2)}
    chosen = [n for n in sorted({*near, *range(0, len(days), 500)}) if 0 <= n < len(days)]
    page.goto(f"{origin}/app")
    found = page.evaluate(
        """async ([module, zone, days]) => {
            const { instantsOf } = await import(module);
            return days.map((from) => instantsOf({ from, zone }).from);
        }""",
        [f"/static/{version()}/span.js", zone, [str(days[n]) for n in chosen]],
    )
    assert found == [str(begins[n] // 1000) for n in chosen]
    assert len(near) > 4


@pytest.mark.parametrize("thing", ["post", "channel"])
def test_an_id_that_cannot_be_is_said_to_be_nothing(origin: str, page: Page, answers: Answers, thing: str) -> None:
    signed_in(page, f"{origin}/app?zone=UTC", KEY)
    answers.bodies[f"{thing}s/elsewhere"] = 404
    for text in (".", "..", "a/b", "p1/series", "%2e", "100%", "é", "\ud800", "x" * 129, "x" * 5_000, "elsewhere"):
        page.goto(f"{origin}/app?view={thing}s&{thing}={quote(text, safe='', errors='surrogatepass')}")
        expect(page.locator("main .notice.bad").first).to_contain_text(
            f"There is no such {thing}. It does not exist in"
        )
        expect(page.locator("h1")).to_have_text(thing.capitalize())
    page.goto(f"{origin}/app?view={thing}s&{thing}=")
    expect(page.locator("h1")).to_have_text(f"{thing.capitalize()}s")
    paths = {urlsplit(address).path for address in answers.asked}
    of = f"/tidemark/v1/{thing}s/"
    assert {path for path in paths if path.startswith(of)} <= {
        f"{of}elsewhere{rest}" for rest in ("", "/series", "/windows", "/events")
    }


def test_zones_are_taken_as_people_write_them(origin: str, page: Page) -> None:
    signed_in(page, f"{origin}/app?range=7d", KEY)
    expect(page.locator("[data-kind=tile][data-id=likes]")).to_be_visible()
    for text, zone, words in (
        ("europe/london", "Europe/London", "Europe/London"),
        ("+02:00", "Etc/GMT-2", "UTC+2"),
        ("-03", "Etc/GMT+3", "UTC-3"),
        ("+00:00", "UTC", "UTC"),
    ):
        with page.expect_request("**/totals**") as asked:
            page.goto(f"{origin}/app?range=7d&zone={quote(text)}")
        assert parse_qs(urlsplit(asked.value.url).query)["tz"] == [zone]
        expect(page.get_by_label("Time zone")).to_have_value(zone)
        assert page.locator(f"option[value='{zone}']").text_content() == words
        expect(page.locator("[data-kind=tile][data-id=likes]")).to_be_visible()
        expect(page.locator(".notice")).to_have_count(0)
    for text in ("+05:30", "+99", "Mars/Base"):
        page.goto(f"{origin}/app?range=7d&zone={quote(text)}")
        expect(page.locator(".notice.warn")).to_have_text(
            f"There is no time zone “{text}”: times are in Europe/Berlin."
        )
        expect(page.locator("[data-kind=tile][data-id=likes]")).to_be_visible()
    page.goto(f"{origin}/app?zone=UTC&from=2026-13-45&to=2026-99-99")
    expect(page.locator(".notice.warn")).to_contain_text("A range needs two dates that exist")


def test_a_page_that_is_no_more_leads_to_the_first(origin: str, page: Page, answers: Answers) -> None:
    answers.bodies["posts"] = lambda route: 422 if "cursor=stale" in route.request.url else pages_of_posts(route)
    signed_in(page, f"{origin}/app?view=posts&zone=UTC&cursor=stale", KEY)
    expect(page.locator("main .notice.bad")).to_be_visible()
    page.get_by_role("link", name="First page").click()
    expect(page.locator("tr[data-id=p0]")).to_be_visible()
    expect(page.locator("main .notice.bad")).to_have_count(0)


def test_nothing_of_one_key_is_kept_for_another(origin: str, page: Page, answers: Answers) -> None:
    times = {"captured_at": "2026-12-01T00:00:00Z", "published_at": "2026-11-01T00:00:00Z"}
    answers.bodies["posts"] = {"data": posts(0, 1, **times), "next_cursor": None}
    answers.bodies["posts/p0"] = posts(0, 1, **times)[0]
    signed_in(page, f"{origin}/app?view=posts&zone=UTC", KEY)
    expect(page.locator("tr[data-id=p0]")).to_contain_text("Low tide at six")
    page.locator("tr[data-id=p0] a.post").click()
    expect(page.locator("h1")).to_have_text("Low tide at six")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_focused()
    assert page.title() == "Your workspace · Tidemark"
    # The same post by its id may be another workspace's: its line is asked for anew.
    page.get_by_label("API key").fill("tm_live_anothers")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("h1")).to_have_text("Low tide at six")
    with page.expect_request(lambda request: "/posts/p0/series" in request.url and "mode=" not in request.url):
        page.get_by_role("link", name="Posts", exact=True).click()


def test_a_channel_that_is_not_there_is_said_to_be_chosen(origin: str, page: Page, answers: Answers) -> None:
    answers.bodies["posts"] = 404
    signed_in(page, f"{origin}/app?view=posts&zone=UTC&channels=elsewhere", KEY)
    expect(page.locator("main .notice.bad")).to_contain_text("A chosen channel does not exist in this workspace")
    answers.bodies["posts"] = {"data": [], "next_cursor": None}
    page.reload()
    expect(page.locator("main .empty")).to_contain_text("No post of these channels was published in this range.")


def test_a_view_that_was_left_is_not_held(origin: str, page: Page, answers: Answers) -> None:
    """A tab lives for weeks: what views leave behind may not grow with the size of the workspace."""
    many = [{**CHANNEL, "id": f"c{number}", "username": f"u{number}"} for number in range(200)]
    answers.bodies["channels"] = {"data": many, "next_cursor": None}
    signed_in(page, f"{origin}/app?view=accounts", KEY)
    protocol = page.context.new_cdp_session(page)
    protocol.send("Performance.enable")
    protocol.send("HeapProfiler.enable")

    def look_at(view: str) -> int:
        page.get_by_role("link", name=view, exact=True).click()
        expect(page.get_by_role("heading", level=1, name=view)).to_be_visible()
        expect(page.locator(".loading")).to_have_count(0)
        protocol.send("HeapProfiler.collectGarbage")
        metrics = {one["name"]: one["value"] for one in protocol.send("Performance.getMetrics")["metrics"]}
        return int(metrics["Nodes"])

    before = look_at("Accounts")
    assert look_at("Channels") > before + 2_000
    assert look_at("Accounts") < before + 200


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
