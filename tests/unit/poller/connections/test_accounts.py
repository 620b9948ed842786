"""Broken connections: announced once, tried again when the catalog has news, remembered over a restart."""

from __future__ import annotations

from schemas.events import AccountEvent
from services.platforms.base import Outcome
from services.poller.connections.accounts import Accounts

KEY = ("w1", "c1")


def test_announced_once_for_one_token() -> None:
    accounts = Accounts()
    event = accounts.broken(KEY, "x", Outcome.TOKEN_EXPIRED, 10, 100)
    assert event == AccountEvent("w1", "c1", "x", "account.token_expired", 100, "token_expired")
    assert accounts.broken(KEY, "x", Outcome.TOKEN_EXPIRED, 10, 200) is None
    newer = accounts.broken(KEY, "x", Outcome.TOKEN_REVOKED, 250, 300)
    assert newer is not None
    assert newer.reason == "token_revoked"


def test_only_newer_news_ends_a_pause() -> None:
    accounts = Accounts()
    accounts.broken(KEY, "x", Outcome.TOKEN_EXPIRED, 10, 100)
    assert accounts.paused() == [KEY]
    assert not accounts.try_again(KEY, 100)
    assert accounts.try_again(KEY, 101)
    assert accounts.paused() == []
    assert not accounts.try_again(("w1", "other"), 101)


def test_recovery_is_announced_once_and_only_after_trouble() -> None:
    accounts = Accounts()
    assert accounts.works(KEY, "x", 5) is None
    accounts.broken(KEY, "x", Outcome.TOKEN_EXPIRED, 10, 100)
    assert accounts.works(KEY, "x", 200) == AccountEvent("w1", "c1", "x", "account.recovered", 200)
    assert accounts.works(KEY, "x", 300) is None


def test_a_channel_without_a_token_is_not_announced() -> None:
    accounts = Accounts()
    assert accounts.broken(KEY, "x", Outcome.TOKEN_EXPIRED, None, 100) is None
    assert accounts.paused() == [KEY]
    assert accounts.broken(KEY, "x", Outcome.TOKEN_EXPIRED, 50, 200) is not None


def test_a_restart_knows_what_was_announced() -> None:
    accounts = Accounts()
    accounts.replay(AccountEvent("w1", "c1", "x", "account.token_expired", 100, "token_expired"))
    accounts.replay(AccountEvent("w1", "c2", "x", "account.token_expired", 100, "token_expired"))
    accounts.replay(AccountEvent("w1", "c2", "x", "account.recovered", 150))
    accounts.replay(AccountEvent("w1", "c3", "x", "account.something_new", 150))
    assert accounts.paused() == [KEY]
    assert not accounts.try_again(KEY, 90)
    assert accounts.broken(KEY, "x", Outcome.TOKEN_EXPIRED, 90, 200) is None


def test_why_a_token_is_not_taken_is_told_where_it_is_known() -> None:
    event = Accounts().broken(KEY, "facebook", Outcome.TOKEN_EXPIRED, 10, 100, "user_token")
    assert event is not None
    assert (event.type, event.reason) == ("account.token_expired", "user_token")
