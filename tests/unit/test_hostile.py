"""The hostile run's generators: they reach every field, function and kind, and forge no true event of a tenant."""

from __future__ import annotations

import itertools
import random

import orjson
import pytest

from schemas.codec import RawCodec, schema_text
from tests.support.hostile import avro, phrases
from tests.support.hostile.bodies import SECRET_NAMES, hostile_bodies, with_tokens
from tests.support.hostile.poison import Poisoner
from tests.support.hostile.scenario import TOKEN_MARK
from tests.support.hostile.statements import Aims, Statements
from tests.support.hostile.tenants import By, CountingTenant, History, RandomTenant

SCHEMA_ID = 7
TENANTS = ["tenant-a", "tenant-b"]


def _poisoner(seed: int = 1) -> Poisoner:
    return Poisoner(
        seed, schema_id=SCHEMA_ID, other_ids=[8, 9], tenants=TENANTS, workspace="attacker", partitions=4
    )  # fmt: skip


def _codec() -> RawCodec:
    def fetch(schema_id: int) -> str:
        if schema_id != SCHEMA_ID:
            raise KeyError(schema_id)
        return schema_text("platform.raw")

    return RawCodec(fetch_schema=fetch)


def test_the_encoder_writes_what_the_codec_reads() -> None:
    made = _poisoner().event("attacker")
    value = b"\x00" + SCHEMA_ID.to_bytes(4, "big") + avro.joined(avro.parts_of(made))
    event = _codec().decode(value)
    assert (event.event_id, event.workspace_id, event.body) == (made["event_id"], "attacker", made["body"])
    assert [tuple(target) for target in event.targets] == made["targets"]


def test_no_poison_is_an_event_of_a_tenant() -> None:
    codec = _codec()
    read = 0
    for message in itertools.islice(_poisoner().messages(), 4000):
        try:
            event = codec.decode(message.value or b"")
        except Exception:
            continue  # cannot be read at all
        read += 1
        assert event.workspace_id not in TENANTS, message.kind
    assert read > 1000


def test_every_field_is_mutated_in_every_way() -> None:
    chance = random.Random(1)
    wanted = sum(len(avro.faults(avro._kind(field), chance)) for field in avro.FIELDS)
    seen = {(field, fault) for field, fault, _ in itertools.islice(avro.mutations(chance), wanted * 2)}
    assert {field for field, _ in seen} == {field["name"] for field in avro.FIELDS}
    assert len(seen) == wanted


def test_a_seed_repeats_the_messages() -> None:
    first, second = ([m.kind for m in itertools.islice(_poisoner(5).messages(), 300)] for _ in range(2))
    assert first == second


def test_tokens_stand_under_every_name() -> None:
    chance = random.Random(1)
    bodies = [with_tokens(chance) for _ in range(2000)]
    assert all(TOKEN_MARK.encode() in body for body in bodies)
    assert all(any(name.encode() in body for body in bodies) for name in (*SECRET_NAMES, "?key="))
    assert len({name for name, _ in hostile_bodies(chance)}) >= 20


def test_every_function_kind_and_disguise_comes_around() -> None:
    names = [f"tablefunction{number}x" for number in range(90)]
    aims = Aims("/outside/canary.csv", "/data/secrets.json", "/outside", 4711)
    made = Statements(3, aims, names, ["abs"])
    cores: set[str] = set()
    found: list[str] = []
    for kind, statement in itertools.islice(iter(made), 3000):
        cores.add(kind)
        found.append(statement)
    assert cores == {"table function", "statement kind", "scalar function"}
    text = "\n".join(found)
    assert all(name in text.lower() for name in names)
    assert "{" not in text.replace("{file_param", "").replace("${jndi", "")
    verbs = {phrase.split()[0] for phrase in phrases.CHANGES}
    assert all(verb in text for verb in verbs)


@pytest.mark.parametrize("seed", range(5))
def test_the_random_tenants_own_figures_are_the_models(seed: int) -> None:
    tenant = RandomTenant("w", seed, 1_700_000_000_000)
    tenant.writes()
    for _ in range(200):
        tenant.answer()
    for target, figures in tenant.history.newest.items():
        assert figures == tenant.world.figures(target)


def test_a_counting_tenants_answers_are_events() -> None:
    tenant = CountingTenant("w")
    bodies = [orjson.loads(tenant.answer()["body"]) for _ in range(3)]
    assert len(bodies) == 3
    assert {figures["likes"] for figures in tenant.history.newest.values()} == {1, 2, 3}


def test_lateness_is_the_time_since_the_next_state() -> None:
    history = History()
    for number in (1, 2, 3):
        history.add({"t": {"likes": number}})
    states = list(history._states)
    for state, published_at in zip(states, (0.0, 10.0, 20.0, 30.0), strict=True):
        state.published_at = published_at

    def likes(by: By) -> int | None:
        return by["t"]["likes"] if by else None

    assert history.lateness(31.0, 3, likes) == 0
    assert history.lateness(31.0, 2, likes) == 1
    assert history.lateness(31.0, 1, likes) == 11
    assert history.lateness(29.0, 2, likes) == 0
    assert history.lateness(31.0, 4, likes) is None
