"""The operator's page of dead letters in a browser, over dead letters in memory: no engine runs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import expect

from schemas.events import DeadLetter
from services.aggregator.dead_letters import Filter, Found, Listed, Origin
from services.aggregator.redrive import Redriven
from services.runtime.clock import SystemClock
from tests.support.browser import CHROMIUM, MISSING, Browsing, signed_in
from tests.support.query_api import ADMIN_KEY, fake_api
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)

SCRIPT = "</pre><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"


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
        return [(entry, {"body": SCRIPT}) for entry in letters]

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
    app = fake_api(letters=topics).app
    assert app is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
        free.listen()
        thread = threading.Thread(target=server.run, args=([free],), daemon=True)
        thread.start()
        wait_until(lambda: server.started, 20, lambda: "the server started")
        yield f"http://127.0.0.1:{free.getsockname()[1]}", topics
        server.should_exit = True
        thread.join(20)


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
        assert page.evaluate("window.hacked") is None
        card.get_by_role("button", name="Send again…").click()
        sends = card.get_by_role("button", name="Send 4 messages")
        expect(sends).to_be_focused()
        card.get_by_role("button", name="Cancel").click()
        expect(sends).to_have_count(0)
        assert not topics.sent
        card.get_by_role("button", name="Send again…").click()
        sends.click()
        done = page.locator("[data-kind=redriven]")
        expect(done).to_contain_text("Sent 4 of 4 messages again")
        expect(done.locator("[data-metric=sent_as_received]")).to_have_attribute("data-value", "3")
        expect(done.locator("[data-metric=sent_as_kept]")).to_have_attribute("data-value", "1")
        expect(card.locator("[data-metric=redriven]")).to_have_attribute("data-value", "4")
        assert [wanted.reasons for wanted in topics.sent] == [frozenset({"body_not_json"})]
        assert {address[: len(origin)] for address in asked} == {origin}
