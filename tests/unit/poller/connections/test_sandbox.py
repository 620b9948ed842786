"""Which channels stay unasked."""

from __future__ import annotations

from services.poller.connections.sandbox import WHY, SandboxGuard
from services.poller.connections.tokens import TokenStore
from services.runtime.secrets import TokenCipher

TOKENS = TokenStore(TokenCipher(("key-0123456789abcdef",)), {})
KEY = ("w", "c")


def test_a_platform_that_refuses_us_is_not_asked_and_the_reason_names_the_setting() -> None:
    guard = SandboxGuard(TOKENS, ("x",), {"reddit": "TIDEMARK_REDDIT_USER_AGENT"})
    assert guard.refuses("reddit", KEY)
    assert "TIDEMARK_REDDIT_USER_AGENT is not set" in guard.why("reddit")
    assert not guard.refuses("youtube", KEY)
    assert guard.why("x") == WHY
