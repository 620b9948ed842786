"""Dead letters through the admin API: what operators see of them, and what a redrive says that it did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.events import DeadLetter
from services.aggregator.dead_letters import Filter, Found, Listed, Origin
from services.aggregator.redrive import Redriven
from tests.support.query_api import ADMIN_KEY, NOW, fake_api

ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}
SCRIPT = "<script>alert(1)</script>"


def letter(number: int, reason: str, redriven_at: int | None = None, detail: str = "") -> Listed:
    """The letter of one message."""
    held = DeadLetter(f"w{number % 2}", reason, detail, "platform.raw", 0, number, None, b"", NOW + number, {})
    return Listed(Found(held, Origin("platform.raw.dead-letters", 0, number)), redriven_at)


class Topics:
    """Dead letters in memory."""

    def __init__(self, letters: Sequence[Listed], payload: Any) -> None:
        self.letters, self.payload = list(letters), payload
        self.asked: list[tuple[Filter, bool]] = []
        self.is_closed = False

    def newest(self, limit: int) -> list[Listed]:
        return self.letters[-limit:]

    def with_payloads(self, letters: Sequence[Listed]) -> list[tuple[Listed, Any]]:
        return [(entry, self.payload) for entry in reversed(letters)]

    def redrive(self, wanted: Filter, *, is_dry: bool) -> Redriven:
        self.asked.append((wanted, is_dry))
        done = Redriven(by_reason={"bad_json": 3})
        if not is_dry:
            done.from_originals, done.from_payloads = 1, 1
            done.failures.append("platform.raw/0/3: gone; access_token=abcdefghijklmnopqrstuvwxyz")
        return done

    def close(self) -> None:
        self.is_closed = True


async def test_letters_are_shown_by_reason_those_to_be_sent_first() -> None:
    topics = Topics(
        [
            *(letter(number, "bad_json") for number in range(5)),
            *(letter(number, "mended", NOW + 100) for number in range(10, 20)),
            letter(20, "unmappable_body", detail=f"token=abcdefghijklmnopqrstuvwxyz {SCRIPT}"),
        ],
        {"body": SCRIPT + "x" * 5_000},
    )
    reply = await fake_api(letters=topics).client.get("/admin/v1/dead-letters", headers=ADMIN)
    assert reply.status_code == 200, reply.text
    shown = reply.json()
    assert shown["looked_at"] == 16
    assert [(one["reason"], one["letters"], one["redriven"], one["workspaces"]) for one in shown["data"]] == [
        ("bad_json", 5, 0, 2),
        ("unmappable_body", 1, 0, 1),
        ("mended", 10, 10, 2),
    ]
    # The newest first, with what they hold, shortened; secrets are blanked, and other texts are as they were.
    assert [one["origin"] for one in shown["data"][0]["examples"]] == [
        f"platform.raw/0/{number}" for number in (4, 3, 2)
    ]
    (example,) = shown["data"][1]["examples"]
    assert "abcdefghij" not in example["detail"]
    assert SCRIPT in example["detail"]
    assert SCRIPT in example["payload"]
    assert len(example["payload"]) == 2_000
    assert example["is_shortened"]
    assert topics.is_closed


async def test_a_redrive_says_what_it_would_do_and_what_it_did() -> None:
    topics = Topics([], None)
    client = fake_api(letters=topics).client
    asked = {"reasons": ["bad_json"], "workspace_id": "w1"}
    dry = await client.post("/admin/v1/dead-letters/redrive", json={**asked, "is_dry": True}, headers=ADMIN)
    assert dry.json()["messages"] == 3
    assert dry.json()["sent_as_received"] == 0
    done = (await client.post("/admin/v1/dead-letters/redrive", json=asked, headers=ADMIN)).json()
    assert (done["messages"], done["sent_as_received"], done["sent_as_kept"], done["failed"]) == (3, 1, 1, 1)
    assert "platform.raw/0/3" in done["failures"][0]
    assert "abcdefghij" not in done["failures"][0]
    assert topics.asked == [(Filter(frozenset({"bad_json"}), "w1"), is_dry) for is_dry in (True, False)]
    refused = await client.post("/admin/v1/dead-letters/redrive", json={"reasons": []}, headers=ADMIN)
    assert refused.status_code == 422


async def test_only_the_admin_key_opens_letters() -> None:
    client = fake_api(letters=Topics([], None)).client
    assert (await client.get("/admin/v1/dead-letters")).status_code == 401
    assert (await client.post("/admin/v1/dead-letters/redrive", json={"reasons": ["a"]})).status_code == 401


async def test_without_the_topics_the_reason_is_told() -> None:
    reply = await fake_api().client.get("/admin/v1/dead-letters", headers=ADMIN)
    assert reply.status_code == 503
    assert reply.json()["code"] == "dead_letters_unavailable"
    assert "there is no Kafka here" in reply.json()["message"]
