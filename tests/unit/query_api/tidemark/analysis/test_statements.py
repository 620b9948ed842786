"""What every statement holds to, whatever it asks."""

from __future__ import annotations

import re
from itertools import product

import pytest

from schemas.metrics import CHANNEL_METRICS, POST_METRICS
from services.query_api.tidemark.analysis import sql, steps
from services.query_api.tidemark.analysis.datasets import DATASETS, statement
from services.query_api.tidemark.analysis.figures import Chosen
from services.query_api.tidemark.analysis.sql import Scope

POSTS = Chosen(tuple(enumerate(POST_METRICS)))
CHANNELS = Chosen(tuple(enumerate(CHANNEL_METRICS)))
STATEMENTS = {
    **{f"spoken {scope.value}": steps.spoken(scope) for scope in Scope},
    **{
        f"{make.__name__} {scope.value} {ranged} {is_rated}": make(POSTS, scope, ranged, is_rated=is_rated)
        for make, scope, ranged, is_rated in product(
            (steps.post_changes, steps.post_growth), Scope, (0, 5), (False, True)
        )
    },
    **{
        f"{make.__name__} {scope.value}": make(CHANNELS, scope)
        for make, scope in product((steps.channel_changes, steps.channel_growth), (Scope.CHANNEL, Scope.WORKSPACE))
    },
    **{f"published {scope.value}": sql.published_totals(scope) for scope in (Scope.CHANNEL, Scope.WORKSPACE)},
    **{
        f"{name} {'csv' if is_csv else ''}": statement(held, is_for_spreadsheets=is_csv)
        for (name, held), is_csv in product(DATASETS.items(), (False, True))
    },
}


@pytest.mark.parametrize("text", STATEMENTS.values(), ids=STATEMENTS)
def test_rows_are_found_by_their_workspace_first(text: str) -> None:
    reads = re.findall(r"FROM \w+_store\b(?: AS \w+)?(?: FINAL)?\s+(WHERE \w+ = \S+)", text)
    assert len(reads) == len(re.findall(r"\w+_store\b", text))
    assert set(reads) == {"WHERE workspace_id = {workspace:String}"}


@pytest.mark.parametrize("text", STATEMENTS.values(), ids=STATEMENTS)
def test_events_told_twice_are_merged_over_months(text: str) -> None:
    assert text.count("SETTINGS do_not_merge_across_partitions_select_final = 0,") == 1
    assert text.rstrip().rpartition("SETTINGS")[2].count("\n") == 0


@pytest.mark.parametrize("name", DATASETS)
def test_text_that_others_wrote_is_guarded_in_csv(name: str) -> None:
    marked = re.findall(r"<\w+\.(\w+)>", DATASETS[name].sql)
    guarded = re.findall(r"if\(match\(\w+\.(\w+), ", statement(DATASETS[name], is_for_spreadsheets=True))
    assert guarded == marked
    assert "match(" not in statement(DATASETS[name], is_for_spreadsheets=False)
    for column in ("content", "permalink", "external_id", "username", "event_id", "post_type"):
        assert (column in DATASETS[name].sql.split("FROM")[0].replace(f".{column}>", "")) is False
