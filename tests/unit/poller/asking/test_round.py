"""What the calls of a round are made with: the token's host, and the proof that it is our app's."""

from __future__ import annotations

import pytest

from services.platforms import all_platforms
from services.platforms.abilities import AppClient
from services.platforms.base import Channel
from services.poller.__main__ import _provers
from services.poller.asking.round import ChannelRound
from services.poller.connections.tokens import Credentials
from services.poller.schedule.plan import Plan
from services.runtime.secrets import TokenPair

CHANNEL = Channel("w1", "c1", "17841400008460056")
CLIENTS = {name: AppClient("1", f"secret-of-{name}") for name in all_platforms()}


def access_of(name: str, token: str) -> ChannelRound:
    prove = _provers(all_platforms(), CLIENTS).get(name)
    return ChannelRound(Plan(("w1", "c1")), CHANNEL, all_platforms()[name], Credentials(TokenPair(token), (), prove))


@pytest.mark.parametrize(
    ("name", "token", "origin", "is_proven"),
    [
        ("instagram", "IGAAabcdef", "https://graph.instagram.com", False),
        ("instagram", "EAAGabcdef", None, True),
        ("facebook", "EAAGabcdef", None, True),
        ("threads", "THAAabcdef", None, False),
        ("x", "abcdef-abcdef", None, False),
    ],
)
def test_a_token_s_host_and_proof(name: str, token: str, origin: str | None, is_proven: bool) -> None:
    access = access_of(name, token).access
    assert access.origin == origin
    assert [parameter for parameter, _ in access.proof] == (["appsecret_proof"] if is_proven else [])
    for _, proven in access.proof:
        assert access.redactor.text(f"https://graph.facebook.com/?after=1&appsecret_proof={proven}").endswith("=***")


def test_another_token_has_another_proof() -> None:
    current = access_of("facebook", "EAAGabcdef")
    first = current.access.proof
    current.authorize(Credentials(TokenPair("EAAGother"), (), _provers(all_platforms(), CLIENTS)["facebook"]))
    assert current.access.proof != first


def test_without_a_secret_nothing_is_proven() -> None:
    clients = {name: AppClient("1") for name in all_platforms()}
    assert Credentials(TokenPair("EAAGabcdef"), (), _provers(all_platforms(), clients)["facebook"]).proof == {}
