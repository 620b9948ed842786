"""The pages in a browser: what they show is what the API answers, and what others wrote is only ever text."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.browser import AXE, CHROMIUM, MISSING, Browsing, signed_in
from tests.support.pages import new_key, show
from tests.support.served_pages import operators_figures
from tests.support.tidemark import RawPublisher, Tidemark
from tests.support.waiting import wait_until

PICTURES = Path(__file__).parents[2] / ".pictures"
WORKSPACE, STRANGER, EMPTY, HOSTILE = "pages", "pages-stranger", "pages-empty", "pages-hostile"
SECRET = "Nobody else may read this sentence"
HOSTILE_TEXT = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>{{7*7}}"
DAYS = 40
WAIT_MS = 30_000
READY_SECONDS = 90
VIEWS = {
    "overview": "/app?zone=UTC",
    "published": "/app?zone=UTC&by=published&range=7d",
    "some-channels": "/app?zone=UTC&channels=ch-bluesky,ch-youtube&range=7d",
    "posts": "/app?view=posts&zone=UTC",
    "sorted": "/app?view=posts&zone=UTC&sort=engagement_rate",
    "post": "/app?view=posts&zone=UTC&post={post}&explain=engagements",
    "channels": "/app?view=channels",
    "channel": "/app?view=channels&channel=ch-youtube&zone=UTC",
    "accounts": "/app?view=accounts",
    "best-times": "/app?view=best-times&zone=UTC&metric=likes",
    "decay": "/app?view=decay&zone=UTC&base=7",
    "unusual": "/app?view=unusual&zone=UTC",
}
OPERATIONS = {
    "health": "/ops",
    "platforms": "/ops?view=platforms",
    "ops-accounts": "/ops?view=accounts",
    "dead-letters": "/ops?view=dead-letters",
}
FIGURES = """() => [...document.querySelectorAll("main [data-metric]")].map((one) => ({
    kind: one.closest("[data-kind]")?.dataset.kind ?? "", id: one.closest("[data-id]")?.dataset.id ?? "",
    metric: one.dataset.metric, value: one.dataset.value, reason: one.dataset.reason ?? null, text: one.textContent,
}))"""


@dataclass
class Scene:
    """A running Tidemark with what the pages show."""

    tidemark: Tidemark
    origin: str
    key: str
    stranger: str
    post_id: str
    addresses: dict[str, str] = field(default_factory=dict)

    def read(self, address: str, key: str | None = None) -> Any:
        """An answer of the API, numbers in the API's own digits."""
        reply = httpx.get(
            self.origin + address,
            headers={"authorization": f"Bearer {key or self.key}"},
            timeout=30,
            trust_env=False,
        )
        assert reply.status_code == 200, (address, reply.text)
        return json.loads(reply.text, parse_float=str, parse_int=str)


@pytest.fixture(scope="module")
def scene(tidemark: Tidemark) -> Scene:
    """The scene of `pages` in a workspace, and another workspace beside it."""
    if CHROMIUM is None:
        pytest.skip(MISSING)
    key, posts = show(tidemark, WORKSPACE, DAYS)
    tidemark.put_channel(STRANGER, "ch-stranger", access_token="sandbox-stranger", username="stranger.example")
    target = {"target_id": "t-stranger", "channel_id": "ch-stranger", "status": "published", "external_id": "at://s/1"}
    tidemark.put_post(STRANGER, "post-stranger", [{**target, "content": SECRET}], published_at="2026-11-01T00:00:00Z")
    # With figures of both of its platforms.
    chosen = next(p.post_id for p in posts[len(posts) // 2 :] if sum(q.post_id == p.post_id for q in posts) == 2)
    found = Scene(tidemark, tidemark.ready["query_api"], key, new_key(tidemark, STRANGER), chosen)

    def shown() -> int:
        page = found.read("/tidemark/v1/top/posts?metric=engagements&limit=500")
        return len(page["data"])

    wanted = len({post.post_id for post in posts})
    wait_until(lambda: shown() >= wanted * 0.9, READY_SECONDS, lambda: f"{shown()} of {wanted} posts have figures")
    return found


@pytest.fixture(scope="module")
def browsing(scene: Scene) -> Iterator[Browsing]:
    """One browser for all tests of this file."""
    with Browsing() as found:
        yield found


@dataclass
class Window:
    """A page, with all that it asked for and complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def asked(self, path: str, *parts: str, without: str = "") -> str:
        """The address of the latest request of a path with these parts of a query and without one, less its origin."""
        found = [
            address
            for address in self.requests
            if urlsplit(address).path == path
            and set(parts) <= set(urlsplit(address).query.split("&"))
            and (not without or without not in urlsplit(address).query.split("&"))
        ]
        assert found, (path, parts, self.requests)
        parts = urlsplit(found[-1])
        return f"{parts.path}?{parts.query}" if parts.query else parts.path


@pytest.fixture
def open_window(browsing: Browsing, scene: Scene) -> Iterator[Callable[..., Window]]:
    """Opens windows; afterwards nothing was asked of another origin, and no window complained."""
    opened: list[Window] = []

    def make(**options: Any) -> Window:
        window = Window(browsing.page(**options))
        page = window.page
        page.on("request", lambda request: window.requests.append(request.url))
        page.on("pageerror", lambda error: window.complaints.append(str(error)))
        page.on(
            "console",
            # A browser writes every refused request to the console, also one that a view is made to meet.
            lambda said: (
                window.complaints.append(said.text)
                if said.type in ("error", "warning") and "Failed to load resource" not in said.text
                else None
            ),
        )
        page.set_default_timeout(WAIT_MS)
        opened.append(window)
        return window

    yield make
    for window in opened:
        window.page.context.close()
        assert not window.complaints
        assert {f"{urlsplit(address).scheme}://{urlsplit(address).netloc}" for address in window.requests} <= {
            scene.origin
        }
        assert not [address for address in window.requests if scene.key in address or scene.stranger in address]


def visit(window: Window, scene: Scene, name: str, key: str | None = None) -> Page:
    """Sign in at a view, and wait until all of it is there."""
    address = {**VIEWS, **OPERATIONS}[name].replace("{post}", scene.post_id)
    is_operator = address.startswith("/ops")
    signed_in(
        window.page, scene.origin + address, key or (scene.tidemark.ready["admin_key"] if is_operator else scene.key)
    )
    settled(window.page)
    return window.page


def settled(page: Page) -> None:
    """Wait until a view has a heading and waits for nothing."""
    expect(page.locator("h1")).to_be_visible(timeout=WAIT_MS)
    expect(page.locator(".loading")).to_have_count(0, timeout=WAIT_MS)


def figures(page: Page) -> dict[tuple[str, str, str], tuple[str, str | None]]:
    """All figures of a page: value and reason, by kind and id of the row, and metric."""
    return {(one["kind"], one["id"], one["metric"]): (one["value"], one["reason"]) for one in page.evaluate(FIGURES)}


def of(kind: str, thing_id: str, metrics: Any, reasons: Any) -> dict[tuple[str, str, str], tuple[str, str | None]]:
    """Figures of an answer, in the form of `figures`; `reasons` is a mapping, or the one reason of every null."""
    return {
        (kind, thing_id, name): ("", reasons if isinstance(reasons, str) else reasons[name])
        if value is None
        else (str(value), None)
        for name, value in metrics.items()
    }


def without_times(point: dict[str, Any]) -> dict[str, Any]:
    """A point's figures."""
    return {name: value for name, value in point.items() if name not in ("start", "end")}


def expected(name: str, window: Window, scene: Scene) -> dict[tuple[str, str, str], tuple[str, str | None]]:
    """What the API answers now to what the page asked for."""
    v1 = "/tidemark/v1"

    def again(path: str, *parts: str, without: str = "") -> Any:
        return scene.read(window.asked(f"{v1}/{path}", *parts, without=without))

    found: dict[tuple[str, str, str], tuple[str, str | None]] = {}
    if name in ("overview", "published", "some-channels"):
        totals = again("totals")
        assert totals.get("channel_ids") == (["ch-bluesky", "ch-youtube"] if name == "some-channels" else None)
        for metric, row in totals["metrics"].items():
            unknown = "no_growth" if totals["attribution"] == "received" else "no_answer"
            found |= of("tile", metric, {metric: row["value"]}, unknown)
            found |= of("tile", metric, {"change": row["change"]}, "no_base")
        for post in again("top/posts")["data"]:
            found |= of("post", post["id"], post["metrics"], post["reasons"])
        for point in again("series")["points"]:
            found |= of("point", point["start"], without_times(point), "no_answer")
    if name in ("posts", "sorted"):
        for post in again("posts" if name == "posts" else "top/posts")["data"]:
            found |= of("post", post["id"], post["metrics"], post["reasons"])
    if name == "post":
        post = again(f"posts/{scene.post_id}")
        found |= of("post", post["id"], post["metrics"], post["reasons"])
        for target in post["targets"]:
            found |= of("target", target["id"], target["metrics"], target["reasons"])
        for point in again(f"posts/{scene.post_id}/series")["points"]:
            found |= of("point", point["start"], without_times(point), "no_answer")
        for part in again(f"posts/{scene.post_id}/explain")["parts"]:
            found |= of(
                "part", f"{part['target_id']}/{part['metric']}", {part["metric"]: part["value"]}, part["reason"] or ""
            )
    if name in ("overview", "published", "some-channels", "channels"):
        for channel in again("channels")["data"]:
            found |= of("channel", channel["id"], channel["metrics"], channel["reasons"])
    if name == "channel":
        channel = again("channels/ch-youtube")
        found |= of("channel", channel["id"], channel["metrics"], channel["reasons"])
        for kind, mode in (("history", "mode=cumulative"), ("gained", "mode=increments")):
            for point in again("channels/ch-youtube/series", "source=channel", mode)["points"]:
                found |= of(kind, point["start"], without_times(point), "no_answer")
        for point in again("channels/ch-youtube/series", "step=day", without="source=channel")["points"]:
            found |= of("point", point["start"], without_times(point), "no_answer")
        for number, period in enumerate(channel["periods"]):
            found |= of("period", str(number), period["metrics"], "no_answer")
        for length in ("24h", "7d", "28d"):
            window_totals = scene.read(f"{v1}/channels/ch-youtube/windows?range={length}")
            for metric, value in window_totals["metrics"].items():
                found |= of(f"window-{length}", metric, {metric: value}, "no_answer")
    if name == "best-times":
        answer = again("insights/best-times")
        found |= of("insight", "minimum", {f"minimum.{key}": least for key, least in answer["minimum"].items()}, "")
        for cell in answer["cells"]:
            found |= of("cell", f"{cell['weekday']}-{cell['hour']}", {"score": cell["score"]}, "too_few")
    if name == "decay":
        answer = again("insights/decay")
        found |= of("insight", "minimum", {"base_days": answer["base_days"]}, "")
        found |= of("insight", "minimum", {f"minimum.{key}": least for key, least in answer["minimum"].items()}, "")
        for age in answer["ages"]:
            found |= of("age", age["age_hours"], {"share": age["share"], "posts": age["posts"]}, "too_few")
    if name == "unusual":
        answer = again("insights/unusual")
        found |= of("insight", "minimum", {"factor": answer["factor"]}, "")
        found |= of("insight", "minimum", {f"minimum.{key}": least for key, least in answer["minimum"].items()}, "")
        for one in answer["posts"]:
            found |= of(
                "unusual", one["target_id"], {key: one[key] for key in ("value", "usual", "ratio", "targets")}, ""
            )
        for one in answer["falls"]:
            place = f"{one['event_id']}/{one['target_id']}/{one['metric']}"
            found |= of("fall", place, {key: one[key] for key in ("before", "value")}, "")
        for one in answer["late"]:
            found |= of("late", one["target_id"], {"late_seconds": one["late_seconds"]}, "")
    return found


# Others show them all: `overview` what `published` and `channels` have, and `sorted` the table of `posts`.
SHOWN_BY_OTHERS = ("published", "channels", "posts")


def in_short_or_long(name: str) -> Any:
    """A view as a parameter, marked where it is for `make test-long` alone."""
    return pytest.param(name, marks=[pytest.mark.long] if name in SHOWN_BY_OTHERS else [])


@pytest.mark.parametrize("name", [in_short_or_long(name) for name in VIEWS if name != "accounts"])
def test_every_figure_is_the_apis(open_window: Callable[..., Window], scene: Scene, name: str) -> None:
    window = open_window()
    page = visit(window, scene, name)
    problems: dict[Any, Any] = {}
    tries = 0

    def agrees() -> bool:
        nonlocal tries
        # Polls go on meanwhile: the page follows, so both are read until nothing moved in between.
        tries += 1
        if tries > 1:
            page.reload()
            settled(page)
        before, held, after = expected(name, window, scene), figures(page), expected(name, window, scene)
        problems.clear()
        problems.update(
            {at: (shown, before.get(at)) for at, shown in held.items() if shown not in (before.get(at), after.get(at))}
        )
        least = {"unusual": 0, "decay": 10}.get(name, 20)
        return len(held) >= least and not problems

    wait_until(agrees, 60, lambda: f"the page and the API agree; they differ at {dict(list(problems.items())[:5])}")


def test_a_wrong_key_is_refused_and_forgotten(open_window: Callable[..., Window], scene: Scene) -> None:
    for path, label in (("/app", "API key"), ("/ops", "Admin key")):
        page = open_window().page
        page.goto(scene.origin + path)
        page.get_by_label(label).fill("tm_live_nobodys")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("not known")
        assert page.evaluate("sessionStorage.length + localStorage.length") == 0
        assert page.get_by_role("navigation").count() == 0


def test_a_key_stays_in_its_tab_until_it_is_signed_out(open_window: Callable[..., Window], scene: Scene) -> None:
    window = open_window()
    page = visit(window, scene, "overview")
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    page.reload()
    settled(page)
    other = page.context.new_page()
    other.goto(scene.origin + "/app")
    expect(other.get_by_label("API key")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


@pytest.mark.long
def test_links_have_their_names(open_window: Callable[..., Window], scene: Scene) -> None:
    page = visit(open_window(), scene, "overview")
    for name in ("Posts", "Channels", "Accounts", "Overview"):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
    page = visit(open_window(), scene, "health")
    for name in ("Platforms", "Accounts", "Dead letters", "Health"):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()


def test_posts_are_sorted_filtered_searched_and_paged(open_window: Callable[..., Window], scene: Scene) -> None:
    window = open_window()
    page = visit(window, scene, "posts")

    def ids() -> list[str]:
        return [str(row.get_attribute("data-id")) for row in page.locator("tbody tr[data-id]").all()]

    first = ids()
    assert len(first) == 25
    # Each post that was answered for some days has its line.
    expect(page.locator("td.line path.line").nth(15)).to_be_attached(timeout=WAIT_MS)
    page.get_by_role("link", name="Next page").click()
    expect(page.locator(f"tr[data-id='{first[0]}']")).to_have_count(0)
    settled(page)
    second = ids()
    assert second
    assert not set(first) & set(second)
    # The view is a link: the same address shows the same page.
    page.reload()
    settled(page)
    assert ids() == second
    page.get_by_role("link", name="First page").click()
    expect(page.locator(f"tr[data-id='{first[0]}']")).to_have_count(1)
    page.get_by_role("link", name="Likes").click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Likes")
    settled(page)
    likes = [int(str(one.get_attribute("data-value"))) for one in page.locator("[data-metric=likes]").all()]
    page.get_by_role("link", name="Likes").click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("Likes")
    settled(page)
    least = [int(str(one.get_attribute("data-value"))) for one in page.locator("[data-metric=likes]").all()]
    assert least == sorted(least)
    assert max(least) <= max(likes)
    page.get_by_role("link", name="Likes").click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Likes")
    settled(page)
    assert len(likes) == 25
    assert likes == sorted(likes, reverse=True)
    page.get_by_role("link", name="Newest").click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Newest")
    page.get_by_role("link", name="Newest").click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("Oldest")
    settled(page)
    known = scene.read(window.asked("/tidemark/v1/posts", "order=asc"))["data"]
    assert ids() == [post["id"] for post in known]
    assert [post["published_at"] for post in known] == sorted(post["published_at"] for post in known)
    page.locator("thead a").filter(has_text="Oldest").click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Newest")
    page.get_by_role("searchbox").fill("BOOTS DRY")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr[data-id]").first).to_contain_text("Keep your boots dry")
    for row in page.locator("tbody tr[data-id]").all():
        assert "Keep your boots dry" in row.inner_text()
    page.get_by_role("searchbox").fill("no such text anywhere")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("No posts here")).to_be_visible()


def test_several_channels_are_chosen(open_window: Callable[..., Window], scene: Scene) -> None:
    window = open_window()
    page = visit(window, scene, "posts")
    page.locator(".picker summary").click()
    page.get_by_role("searchbox", name="Find a channel").fill("tidemark.test")
    expect(page.locator(".picker label")).to_have_count(1)
    page.get_by_role("searchbox", name="Find a channel").fill("")
    for channel_id in ("ch-x", "ch-bluesky"):
        page.locator(f".picker label[data-id={channel_id}] input").check()
    expect(page.locator(".picker summary")).to_have_text("2 channels")
    page.keyboard.press("Escape")
    expect(page.locator(".picker fieldset")).to_be_hidden()
    expect(page.locator(".picker summary")).to_be_focused()
    settled(page)
    assert parse_qs(urlsplit(page.url).query)["channels"] == ["ch-x,ch-bluesky"]

    def ids() -> list[str]:
        return [str(row.get_attribute("data-id")) for row in page.locator("tbody tr[data-id]").all()]

    first = ids()
    assert first == [post["id"] for post in scene.read(window.asked("/tidemark/v1/posts"))["data"]]
    # Named one by one it is the same view, and it stays from view to view.
    page.goto(f"{scene.origin}/app?view=posts&zone=UTC&channels=ch-x&channels=ch-bluesky")
    settled(page)
    assert ids() == first
    page.get_by_role("link", name="Overview").click()
    expect(page.locator(".picker summary")).to_have_text("2 channels")
    settled(page)
    followers = page.locator("tr[data-kind=channel]").all()
    assert {row.get_attribute("data-id") for row in followers} == {"ch-x", "ch-bluesky"}
    # One that is gone can be taken out.
    page.goto(f"{scene.origin}/app?zone=UTC&channels=ch-x,ch-gone")
    expect(page.locator(".notice.bad")).to_contain_text("There is nothing here")
    page.locator(".picker summary").click()
    page.locator(".picker label[data-id=ch-gone] input").click()
    expect(page.locator("[data-kind=tile]").first).to_be_visible()
    expect(page.locator(".notice.bad")).to_have_count(0)


def test_a_figure_is_explained_by_its_raw_answer(open_window: Callable[..., Window], scene: Scene) -> None:
    page = visit(open_window(), scene, "posts")
    page.goto(scene.origin + f"/app?view=posts&post={scene.post_id}")
    settled(page)
    page.locator("dl.totals [data-metric=likes]").click()
    expect(page.get_by_role("heading", name="Where it comes from")).to_be_visible()
    expect(page.locator(".explain code").filter(has_text="platform.raw").first).to_be_visible()
    parts = scene.read(f"/tidemark/v1/posts/{scene.post_id}/explain?metric=likes")["parts"]
    expect(page.locator("article[data-kind=part]")).to_have_count(len(parts))


@pytest.mark.parametrize("is_streamed", [True, pytest.param(False, marks=pytest.mark.long)], ids=["stream", "polls"])
def test_figures_move_without_a_reload(open_window: Callable[..., Window], scene: Scene, is_streamed: bool) -> None:
    """An answer that comes after all others, of a channel that nobody polls."""
    tidemark = scene.tidemark
    first, second, third = (11, 4_012, 4_013) if is_streamed else (5_011, 9_012, 9_013)
    tidemark.put_channel("pages-live", "ch-live", status="disabled")
    uri = "at://did:plc:live/app.bsky.feed.post/3jui7kd54zh2y"
    target = {"target_id": "t-live", "channel_id": "ch-live", "status": "published", "external_id": uri}
    tidemark.put_post("pages-live", "post-live", [target], published_at="2026-11-20T00:00:00Z")
    publisher = RawPublisher(tidemark.ready)

    def say(likes: int) -> None:
        publisher.publish(
            {
                "event_id": f"live-{likes}",
                "workspace_id": "pages-live",
                "channel_id": "ch-live",
                "platform": "bluesky",
                "kind": "POST_METRICS",
                "endpoint": "/xrpc/app.bsky.feed.getPosts",
                "request": {"uris": uri},
                "targets": [{"target_id": "t-live", "post_id": "post-live", "external_id": uri}],
                "http_status": 200,
                "body": json.dumps({"posts": [{"uri": uri, "likeCount": likes}]}).encode(),
                "captured_at": time.time_ns() // 1_000_000,
                "origin": "SCHEDULE",
            }
        )
        publisher.flush()

    key = new_key(tidemark, "pages-live")

    def shown() -> str | None:
        posts = scene.read("/tidemark/v1/posts", key)["data"]
        return cast("str | None", posts[0]["metrics"]["likes"]) if posts else None

    say(first)
    window = open_window()
    page = window.page
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/tidemark/v1/stream**", hold if is_streamed else failing(503))
    wait_until(lambda: shown() == str(first), 40, "the first figure can be read")
    signed_in(page, scene.origin + "/app?view=posts&post=post-live", key)
    likes = page.locator("dl.totals [data-metric=likes]")
    expect(likes).to_have_attribute("data-value", str(first), timeout=40_000)
    page.evaluate("window.stays = true")
    say(second)
    if is_streamed:
        # The change comes after the page was read, and before its stream begins.
        wait_until(lambda: shown() == str(second), 40, "the second figure can be read")
        assert held
        for stream in held:
            stream.continue_()
        page.unroute("**/tidemark/v1/stream**")
    expect(likes).to_have_attribute("data-value", str(second), timeout=40_000)
    say(third)
    expect(likes).to_have_attribute("data-value", str(third), timeout=40_000)
    assert page.evaluate("window.stays") is True


def failing(status: int, **headers: str) -> Callable[[Route], None]:
    """Answers every read with a problem."""

    def answer(route: Route) -> None:
        body = {"type": "about:blank", "title": "x", "status": status, "detail": "d", "code": "c", "message": "m"}
        route.fulfill(status=status, body=json.dumps(body), content_type="application/problem+json", headers=headers)

    return answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (failing(503), "not available right now"),
        pytest.param(failing(429, **{"retry-after": "3"}), "Trying again in 3 s", marks=pytest.mark.long),
        pytest.param(lambda route: route.abort(), "can't be reached", marks=pytest.mark.long),
        pytest.param(failing(500), "Trying again", marks=pytest.mark.long),
    ],
    ids=["clickhouse-away", "limited", "unreachable", "broken"],
)
def test_what_fails_is_said_and_comes_back(
    open_window: Callable[..., Window], scene: Scene, answer: Callable[[Route], None], words: str
) -> None:
    page = visit(open_window(), scene, "overview")
    page.route("**/tidemark/v1/**", answer)
    page.reload()
    expect(page.get_by_text(words).first).to_be_visible()
    page.unroute("**/tidemark/v1/**")
    expect(page.locator(".notice.bad")).to_have_count(0, timeout=WAIT_MS)
    settled(page)
    assert len(figures(page)) > 20


def test_a_key_that_is_revoked_leads_back_to_the_sign_in(open_window: Callable[..., Window], scene: Scene) -> None:
    page = visit(open_window(), scene, "overview")
    page.route("**/tidemark/v1/**", failing(401))
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("Sign in again")
    assert page.locator("[data-metric]").count() == 0


def test_a_workspace_without_channels(open_window: Callable[..., Window], scene: Scene) -> None:
    page = open_window().page
    signed_in(page, scene.origin + "/app", new_key(scene.tidemark, EMPTY))
    expect(page.get_by_text("No channel is connected yet")).to_be_visible()


def test_others_text_is_only_text(open_window: Callable[..., Window], scene: Scene) -> None:
    tidemark = scene.tidemark
    tidemark.put_channel(HOSTILE, "ch-hostile", username=HOSTILE_TEXT[:60], status="disabled")
    target = {
        "target_id": "t-hostile",
        "channel_id": "ch-hostile",
        "status": "published",
        "external_id": "at://h/1",
        "permalink": "javascript:window.hacked=1",
        "post_type": "<b>bold</b>",
        "content": HOSTILE_TEXT,
    }
    tidemark.put_post(HOSTILE, "post-hostile", [target], published_at="2026-11-29T00:00:00Z")
    page = open_window().page
    signed_in(page, scene.origin + "/app?view=posts", new_key(tidemark, HOSTILE))
    expect(page.get_by_text(HOSTILE_TEXT).first).to_be_visible()
    for address in (
        "view=posts&post=post-hostile",
        "view=channels",
        "view=channels&channel=ch-hostile",
        "view=accounts",
    ):
        page.goto(f"{scene.origin}/app?{address}")
        settled(page)
        expect(page.get_by_text("<img src=x onerror").first).to_be_visible()
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main script, main b").count() == 0
        assert page.locator("a[href^='javascript']").count() == 0


def test_another_workspace_is_never_shown(open_window: Callable[..., Window], scene: Scene) -> None:
    window = open_window()
    for name in VIEWS:
        page = window.page
        page.goto(scene.origin + VIEWS[name].replace("{post}", "post-stranger"))
        if page.get_by_label("API key").count():
            signed_in(page, page.url, scene.key)
        settled(page)
        text = page.locator("body").inner_text()
        assert SECRET not in text
        assert "stranger.example" not in text
    expect(window.page.locator("h1")).to_be_visible()
    # Another key in the same tab: nothing of the first stays.
    window.page.get_by_role("button", name="Sign out").click()
    signed_in(window.page, scene.origin + "/app?view=posts&range=90d", scene.stranger)
    expect(window.page.get_by_text(SECRET)).to_be_visible()
    assert window.page.locator("tr[data-id^='post-']:not([data-id='post-stranger'])").count() == 0


@pytest.mark.long
@pytest.mark.parametrize("width", [360, 768, 2560])
def test_every_view_fits(open_window: Callable[..., Window], scene: Scene, width: int) -> None:
    window = open_window(width=width, height=900, colours="dark" if width == 768 else "light")
    page = visit(window, scene, "overview")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(15, 21, 27)" if width == 768 else "rgb(247, 248, 249)")
    PICTURES.mkdir(exist_ok=True)
    for name, address in VIEWS.items():
        page.goto(scene.origin + address.replace("{post}", scene.post_id))
        settled(page)
        page.screenshot(path=str(PICTURES / f"{name}-{width}.png"), full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


@pytest.mark.long
@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("name", [*VIEWS, *OPERATIONS])
def test_no_serious_barrier(open_window: Callable[..., Window], scene: Scene, name: str, colours: str) -> None:
    if not AXE.exists():
        pytest.skip("there is no axe-core: `make browser` brings it")
    page = visit(open_window(colours=colours), scene, name)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run().then((result) => result.violations)")
    serious = [
        (one["id"], [node["html"][:160] for node in one["nodes"][:3]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert not serious


@pytest.mark.parametrize("name", OPERATIONS)
def test_operators_see_what_the_admin_api_says(open_window: Callable[..., Window], scene: Scene, name: str) -> None:
    page = visit(open_window(), scene, name)
    problems: dict[Any, Any] = {}

    def agrees() -> bool:
        with (
            page.expect_response("**/admin/v1/status") as told,
            page.expect_response("**/admin/v1/accounts") as listed,
        ):
            page.reload()
        status, accounts = (json.loads(reply.value.text(), parse_float=str, parse_int=str) for reply in (told, listed))
        settled(page)
        known = operators_figures(status, accounts)
        held = {at: shown for at, (shown, _) in figures(page).items() if at[0] != "letters"}
        problems.clear()
        problems.update(
            {
                at: (shown, known.get(at, "unknown"))
                for at, shown in held.items()
                if at not in known or shown != (known[at] or "")
            }
        )
        return not problems and len(held) > {"health": 30, "platforms": 10, "ops-accounts": 2}.get(name, -1)

    wait_until(agrees, 60, lambda: f"the page and the API agree; they differ at {problems}")
    if name == "health":
        expect(page.locator("[data-health=attention]")).to_contain_text("must be reconnected")
    if name == "ops-accounts":
        expect(page.locator(f"tr[data-id='{WORKSPACE}/ch-old']")).to_be_visible()
    if name == "dead-letters":
        expect(page.get_by_text("tidemark dead-letters list", exact=True)).to_be_visible()
