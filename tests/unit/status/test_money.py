"""What polls cost, as `tidemark status` reports it: of the whole installation, whichever poller is asked."""

from __future__ import annotations

import io

from rich.console import Console

from services.status.platforms import merged, platform_reports
from services.status.samples import Samples, parse
from services.status.screen import _money

PAGE = """
tidemark_poller_targets{platform="x"} 3
tidemark_poller_targets{platform="bluesky"} 3
tidemark_poller_spent_usd{platform="x"} %s
tidemark_poller_money_left_usd{platform="x"} %s
tidemark_poller_spending_forecast_usd{platform="x"} 9.5
tidemark_poller_workspace_spent_usd{platform="x",workspace="%s"} 1.25
"""


def page(spent: float, left: float, workspace: str) -> Samples:
    return parse(PAGE % (spent, left, workspace))


def test_spent_left_forecast_and_by_workspace() -> None:
    reports = platform_reports(None, page(2.5, 7.5, "w1"), 1.0)
    assert reports["x"]["spent_usd"] == 2.5
    assert reports["x"]["money_left_usd"] == 7.5
    assert reports["x"]["spending_forecast_usd"] == 9.5
    assert reports["x"]["spent_usd_by_workspace"] == {"w1": 1.25}
    assert "spent_usd" not in reports["bluesky"]


def test_of_several_pollers_the_one_that_heard_of_most_is_right() -> None:
    reports = [platform_reports(None, page(*told), 1.0) for told in ((2.5, 7.5, "w1"), (2.75, 7.25, "w2"))]
    both = merged([*reports, {"x": {key: value for key, value in reports[0]["x"].items() if "usd" not in key}}])["x"]
    assert (both["spent_usd"], both["money_left_usd"], both["spending_forecast_usd"]) == (2.75, 7.25, 9.5)
    assert both["spent_usd_by_workspace"] == {"w1": 1.25, "w2": 1.25}
    assert both["targets"] == 9


def test_it_is_drawn_in_words() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(*_money(platform_reports(None, page(2.5, 7.5, "w1"), 1.0)["x"]))
    assert console.file.getvalue().split() == (  # type: ignore[attr-defined]
        ["$2.50", "spent", "this", "month,", "$9.50", "by", "its", "end", "$7.50", "left"]
    )
    assert _money({}) == []
