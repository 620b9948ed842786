"""Draws the pictures of the pages, of a Tidemark with the scene of `pages`: `make pictures`.

The README's go into docs/pictures. Every view, light, dark and as wide as a phone, goes into .pictures to be looked at,
and so do the sign-in and views whose reads fail.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, Route, expect

from tests.support.browser import CHROMIUM, Browsing, signed_in
from tests.support.pages import Shown, show
from tests.support.tidemark import Tidemark
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pictures"
ALL = ROOT / ".pictures"
DAYS = 70
WAIT_MS = 60_000
READY_SECONDS = 180
# How many posts of a table have a line before it is drawn.
LINES = 15
VIEWS = {
    "overview": "/app?range=28d&zone=UTC",
    "some-channels": "/app?range=7d&zone=UTC&channels=ch-bluesky,ch-youtube",
    "posts": "/app?view=posts&sort=engagements&zone=UTC",
    "newest": "/app?view=posts&zone=UTC",
    "post": "/app?view=posts&post={post}&explain=likes&zone=UTC",
    "channels": "/app?view=channels&zone=UTC",
    "channel": "/app?view=channels&channel=ch-bluesky&zone=UTC",
    "accounts": "/app?view=accounts&zone=UTC",
    "best-times": "/app?view=best-times&zone=UTC",
    "decay": "/app?view=decay&base=7&zone=UTC",
    "unusual": "/app?view=unusual&zone=UTC",
    "health": "/ops",
    "platforms": "/ops?view=platforms",
    "ops-accounts": "/ops?view=accounts",
    "dead-letters": "/ops?view=dead-letters",
}
OF_README = ("overview", "posts", "post", "channel", "best-times", "health")
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"width": 1280},
    "dark": {"width": 1280, "colours": "dark"},
    "phone": {"width": 390, "height": 844},
    "phone-dark": {"width": 390, "height": 844, "colours": "dark"},
}
# What fails, and the view in which it fails.
FAILURES = {
    "failing-all": ("**/tidemark/v1/**", "/app?zone=UTC"),
    "failing-sums": ("**/tidemark/v1/totals**", "/app?zone=UTC"),
    "failing-lists": ("**/tidemark/v1/posts**", "/app?view=posts&zone=UTC"),
    "failing-status": ("**/admin/v1/status", "/ops"),
}


class Drawer:
    """Draws views of one Tidemark; signs in once for each window.

    Args:
        post_id: the post that its view shows.
    """

    def __init__(self, origin: str, key: str, admin_key: str, post_id: str) -> None:
        self._origin = origin
        self._keys = {"/app": key, "/ops": admin_key}
        self._post_id = post_id

    def draw(self, names: tuple[str, ...], folder: Path, *, is_whole: bool = False, **window: Any) -> None:
        """Draw views into a folder, as far as the window shows them or whole."""
        folder.mkdir(parents=True, exist_ok=True)
        with Browsing() as browsing:
            windows: dict[str, Any] = {}
            for name in names:
                address = self._origin + VIEWS[name].replace("{post}", self._post_id)
                path = VIEWS[name][:4]
                if path not in windows:
                    windows[path] = browsing.page(**window)
                    windows[path].set_default_timeout(WAIT_MS)
                    signed_in(windows[path], address, self._keys[path])
                page = windows[path]
                page.goto(address)
                expect(page.locator("h1")).to_be_visible(timeout=WAIT_MS)
                expect(page.locator(".loading")).to_have_count(0, timeout=WAIT_MS)
                if page.locator("td.line").count():
                    expect(page.locator("td.line path.line").nth(LINES - 1)).to_be_attached(timeout=WAIT_MS)
                _take(page, folder / f"{name}.png", is_whole=is_whole)

    def draw_failures(self, folder: Path, **window: Any) -> None:
        """Draw the sign-in, and each of `FAILURES`."""
        with Browsing() as browsing:
            page = browsing.page(**window)
            page.goto(f"{self._origin}/app")
            expect(page.get_by_label("API key")).to_be_visible(timeout=WAIT_MS)
            _take(page, folder / "sign-in.png", is_whole=True)
            for name, (addresses, path) in FAILURES.items():
                page = browsing.page(**window)
                signed_in(page, self._origin + path, self._keys[path[:4]])
                page.route(addresses, _refuse)
                page.reload()
                expect(page.locator(".notice.bad")).to_be_visible(timeout=WAIT_MS)
                expect(page.locator(".loading")).to_have_count(0, timeout=WAIT_MS)
                _take(page, folder / f"{name}.png", is_whole=True)


def _take(page: Page, path: Path, *, is_whole: bool) -> None:
    page.evaluate("document.activeElement?.blur(); scrollTo(0, 0)")
    page.screenshot(path=str(path), full_page=is_whole)


def _refuse(route: Route) -> None:
    """The answer while ClickHouse is away."""
    problem = {"type": "about:blank", "title": "Unavailable", "status": 503, "code": "reads_unavailable"}
    message = "Reads are not available right now."
    route.fulfill(status=503, json={**problem, "detail": message, "message": message}, headers={"retry-after": "5"})


def chosen(posts: list[Shown]) -> str:
    """A post of two channels with answers of some weeks."""
    of_two = [post.post_id for post in posts if sum(other.post_id == post.post_id for other in posts) == 2]
    return of_two[len(of_two) // 2]


def main() -> None:
    """Draw the README's pictures, and every view in every look."""
    if CHROMIUM is None:
        sys.exit("there is no chromium: `make browser` brings it")
    with tempfile.TemporaryDirectory() as folder:
        tidemark = Tidemark(Path(folder), {"TIDEMARK_POLL_SPEED": "60"})
        tidemark.start()
        try:
            key, posts = show(tidemark, "demo", DAYS)
            origin = tidemark.ready["query_api"]
            _wait_until_known(origin, key, len({post.post_id for post in posts}))
            drawer = Drawer(origin, key, tidemark.ready["admin_key"], chosen(posts))
            drawer.draw(OF_README, FOLDER, width=1280, height=860)
            for look, window in LOOKS.items():
                drawer.draw(tuple(VIEWS), ALL / look, is_whole=True, **window)
                drawer.draw_failures(ALL / look, **window)
        finally:
            tidemark.stop()


def _wait_until_known(origin: str, key: str, posts: int) -> None:
    def known() -> int:
        asked = {"metric": "engagements", "limit": "500"}
        headers = {"authorization": f"Bearer {key}"}
        reply = httpx.get(f"{origin}/tidemark/v1/top/posts", params=asked, headers=headers, timeout=30, trust_env=False)
        return len(reply.raise_for_status().json()["data"])

    wait_until(lambda: known() >= posts * 0.9, READY_SECONDS, lambda: f"{known()} of {posts} posts have figures")


if __name__ == "__main__":
    main()
