"""`tidemark platforms check` against the sandbox over HTTP: a table of what works, and what mends the rest."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from infra.sandbox.channels import ACCOUNTS
from infra.sandbox.ids import make_id
from infra.sandbox.state import State, Switch
from services.platforms import all_platforms
from services.poller.requests.check_command import TOKEN_VARIABLE, Wanted, run
from services.runtime.secrets import TokenPair
from tests.support.engines import Engines
from tests.support.pollers import Pollers
from tests.support.served_sandbox import serving

TOKEN = "sandbox-very-secret-token"
HOUR = 3_600_000


class Server(NamedTuple):
    """The sandbox of this module."""

    url: str
    state: State


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Server]:
    state = State(7)
    with serving(state) as url:
        yield Server(url, state)


@pytest.fixture
def server(sandbox: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    sandbox.state.reset()
    for name in all_platforms():
        monkeypatch.setenv(f"TIDEMARK_{name.upper()}_BASE_URL", sandbox.url)
    return sandbox


def wanted(platform: str, tmp_path: Path, *, with_post: bool = True) -> Wanted:
    """A check without a catalog."""
    account = ACCOUNTS[platform]
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}~{account.external_id}\n")
    posts: tuple[str, ...] = ()
    if account.post_type and with_post:
        posts = (make_id(platform, time.time_ns() // 1_000_000 - HOUR, 1, account=account.external_id),)
    return Wanted(platform, account.external_id, None, posts, account.post_type, file)


@pytest.mark.parametrize("platform", sorted(ACCOUNTS))
def test_everything_works_at_a_healthy_platform(
    platform: str, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(wanted(platform, tmp_path))
    shown = capsys.readouterr()
    assert code == 0, shown.out
    head, *lines, last = shown.out.splitlines()
    assert head.split("  ")[0] == "call"
    assert lines[0].startswith("identity ")
    assert lines[0].endswith(" works")
    calls = [line.split("  ")[0] for line in lines]
    assert len(set(calls)) == len(calls), "each line can be told from the others"
    assert all(" GET /" in line or " POST /" in line for line in lines)
    assert last == f"{len(lines)} of {len(lines)} calls work"
    assert all("works" in line for line in lines)
    assert TOKEN not in shown.out + shown.err
    kinds = {call["endpoint"] for call in server.state.calls}
    assert len(kinds) >= 2, "identity and at least one other endpoint were asked"


REFUSED = [
    ("x", "client_not_enrolled", "project whose plan"),
    ("linkedin", "no_admin_role", "rw_organization_admin"),
    ("instagram", "insights_scope", "instagram_business_manage_insights"),
    ("facebook", "proof_missing", "TIDEMARK_FACEBOOK_CLIENT_SECRET"),
    ("facebook", "user_token", "page's own token"),
    ("facebook", "engagement_scope", "pages_read_engagement"),
    ("threads", "insights_scope", "threads_manage_insights"),
    ("bluesky", "expired_token", "connect the account again"),
    ("youtube", "reports_forbidden", "yt-analytics.readonly"),
    ("tiktok", "stats_scope", "user.info.stats"),
    ("pinterest", "no_business_account", "business account"),
    ("google_business", "service_disabled", "API enabled"),
    ("reddit", "insufficient_scope", "scope read"),
]


@pytest.mark.parametrize(("platform", "refusal", "mends"), REFUSED, ids=[f"{row[0]}-{row[1]}" for row in REFUSED])
def test_a_refusal_is_told_with_what_mends_it(
    platform: str, refusal: str, mends: str, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.state.switches.append(Switch(platform, refusal))
    assert run(wanted(platform, tmp_path)) == 1
    shown = capsys.readouterr()
    refused = [line for line in shown.out.splitlines() if mends in line]
    assert refused, shown.out
    assert " refused" in shown.out.splitlines()[-1]
    assert TOKEN not in shown.out + shown.err


def test_an_answer_without_figures_is_told_with_the_scope_that_may_be_missing(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.state.switches.append(Switch("facebook", "insights_scope"))
    assert run(wanted("facebook", tmp_path)) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "without figures" in line]
    # Where reactions and comments come all the same, the post has figures.
    assert all("read_insights" in line for line in lines)


def test_the_token_may_come_from_the_environment(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, f"{TOKEN}~1001")
    assert run(wanted("x", tmp_path)._replace(token_file=None)) == 0
    assert TOKEN not in capsys.readouterr().out


@pytest.mark.parametrize(("content", "says"), [(None, "can't be read"), ("\n", "is empty")])
def test_a_token_file_that_holds_none_is_named(
    content: str | None, says: str, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "none"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SystemExit) as ended:
        run(wanted("x", tmp_path)._replace(token_file=file))
    assert ended.value.code == 1
    assert says in capsys.readouterr().err


def test_an_unknown_platform_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(Wanted("mars", "c", None))
    assert "--platform mars: no such platform; there are bluesky" in capsys.readouterr().err


def test_a_channel_of_the_catalog_is_checked_with_its_own_token(
    engines: Engines, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pollers = Pollers(engines, topic_prefix, tmp_path, {})
    try:
        pollers.put_channel("w1", "c1", "x", TokenPair(f"{TOKEN}~2244994945"))
        pollers.put_channel("w2", "c2", "youtube", TokenPair(f"{TOKEN}~UC1"))
        post = pollers.put_post("w1", "p1", "c1", "x", 1, HOUR)
        pollers.put_post("w1", "p0", "c1", "x", 2, 9 * HOUR)
        pollers.flush()
        for name, value in pollers.environment.items():
            monkeypatch.setenv(name, value)
        assert run(Wanted("x", "c1", "w1")) == 0
        shown = capsys.readouterr().out
        assert "identity" in shown
        assert TOKEN not in shown
        assert list(pollers.served("x")).count(post) == 1, "the newest post was asked for, and no other"
        for asked, says in (
            (Wanted("x", "c9", "w1"), "there is no channel 'c9' in workspace 'w1'; it has c1"),
            (Wanted("x", "c9", None), "it has c1, c2"),
            (Wanted("x", "c2", None), "say --platform youtube"),
        ):
            with pytest.raises(SystemExit):
                run(asked)
            assert says in capsys.readouterr().err
    finally:
        pollers.close()
