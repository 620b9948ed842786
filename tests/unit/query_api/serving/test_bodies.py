"""Bodies that are made to be costly, or that two readers could take for two things, are one clear refusal."""

from __future__ import annotations

import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.query_api.errors import Invalid
from services.query_api.serving.bodies import check_json
from tests.support.query_api import ADMIN_KEY, fake_api

ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}
BOMBS = {
    "deep lists": b"[" * 2_000_000,
    "deep objects": b'{"a":' * 500_000,
    "deep and whole": b"[" * 300 + b"]" * 300,
    "a long number": b'{"status":' + b"9" * 4_000_000 + b"}",
    "a long fraction": b'{"status":1.' + b"9" * 4_000_000 + b"}",
    "a name twice": b'{"status":"draft","status":"published"}',
    "a name twice, once in another spelling": b'{"status":"draft","st\\u0061tus":"published"}',
    "a name twice further in": b'{"status":"draft","targets":[{"status":"draft","status":"published"}]}',
    "no number": b'{"status":NaN}',
    "another encoding": '{"status":"draft"}'.encode("utf-16"),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_is_one_clear_422(name: str) -> None:
    api = fake_api()
    began = time.process_time()
    reply = await api.client.put("/admin/v1/workspaces/w1/posts/p1", content=BOMBS[name], headers=ADMIN)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_body")
    assert "\n" not in reply.json()["message"]
    assert time.process_time() - began < 3
    line = BOMBS[name].replace(b"\n", b" ")
    good = b'{"type": "post", "workspace_id": "w1", "id": "p1", "status": "draft"}'
    bulk = await api.client.post("/admin/v1/catalog", content=line + b"\n" + good, headers=ADMIN)
    if b"\n" not in BOMBS[name]:
        assert (bulk.status_code, bulk.json()["accepted"]) == (200, 1)
        assert [refused["line"] for refused in bulk.json()["rejected"]] == [1]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=30,
    )
)
def test_whatever_is_plain_json_passes(value: object) -> None:
    check_json(orjson.dumps(value) if not isinstance(value, int) else b"%d" % value)


@given(st.text(), st.lists(st.text(), max_size=5))
def test_a_name_that_occurs_twice_never_passes(twice: str, others: list[str]) -> None:
    names = [twice, *others, twice]
    text = b"{" + b",".join(orjson.dumps(name) + b":1" for name in names) + b"}"
    with pytest.raises(Invalid):
        check_json(b'[{"a":' + text + b"}]")
