"""Token endpoints, as far as platforms share them: which refresh tokens work, and what they bring.

Any text is a refresh token. Those that begin with `revoked-` or `expired-` (with or without `sandbox-` before them)
fail, and so does one that was used before, on platforms whose refresh tokens work once. What follows a `~` goes over
to the new tokens. Whether the app is known is not checked.
"""

from __future__ import annotations

from typing import Any

from infra.sandbox.exchange import Ask, Reply

_ENDED = frozenset({"revoked", "expired"})


def renewed(ask: Ask, refresh_token: str, *, once: bool) -> tuple[str, str] | None:
    """A new access token and a new refresh token; None where the old one doesn't work.

    Args:
        once: whether a refresh token of the platform works once.
    """
    state = ask.state
    word = refresh_token.removeprefix("sandbox-").partition("-")[0]
    if not refresh_token or word in _ENDED or (ask.platform, refresh_token) in state.spent_tokens:
        return None
    if once:
        state.spent_tokens.add((ask.platform, refresh_token))
    state.grants += 1
    _, tilde, account = refresh_token.partition("~")
    return f"sandbox-fresh-{state.grants}{tilde}{account}", f"sandbox-again-{state.grants}{tilde}{account}"


def oauth_refresh(
    ask: Ask, life_seconds: int, refused: Reply, *, once: bool, repeats: bool = True, **more: Any
) -> Reply:
    """OAuth 2's answer to `grant_type=refresh_token`.

    Args:
        refused: what a refresh token that doesn't work is answered.
        repeats: whether the answer names the refresh token to use from now on.
    """
    form = ask.form()
    if form.get("grant_type") != "refresh_token":
        return Reply(400, {"error": "unsupported_grant_type", "error_description": "grant_type must be refresh_token"})
    old = form.get("refresh_token", "")
    tokens = renewed(ask, old, once=once)
    if tokens is None:
        return refused
    body: dict[str, Any] = {"access_token": tokens[0], "token_type": "bearer", "expires_in": life_seconds, **more}
    if repeats:
        body["refresh_token"] = tokens[1] if once else old
    return Reply(200, body)


def renewal(ask: Ask) -> Reply:
    """Meta's renewal of a long-lived token in place."""
    ask.state.grants += 1
    token = f"sandbox-fresh-{ask.state.grants}~{ask.account_id}"
    return Reply(200, {"access_token": token, "token_type": "bearer", "expires_in": 5_183_944})
