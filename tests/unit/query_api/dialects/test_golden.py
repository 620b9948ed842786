"""Every product on its golden cases: the question that a request asks, and the reply that an answer becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.query_api.dialects import all_dialects
from services.query_api.dialects.openpost.models import LIST_SAMPLE
from services.query_api.dialects.postflow.models import SAMPLE as POSTFLOW_SAMPLE
from services.query_api.dialects.postfuze import models as postfuze
from services.query_api.dialects.postme.models import CHANNEL_SAMPLE, POST_SAMPLE
from services.query_api.dialects.powerpost.models import SAMPLE as POWERPOST_SAMPLE
from tests.support.dialects import GoldenCase, golden_cases
from tests.support.query_api import FakeApi, fake_api

CASES = golden_cases()


async def ask(api: FakeApi, case: GoldenCase) -> Any:
    request = case.read("request")
    headers = {**api.add_key("w1", "good"), **request.get("headers", {})}
    return await api.client.get(request["path"], params=request["query"], headers=headers)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.product}-{case.name}")
async def test_a_request_asks_its_question_and_an_answer_becomes_its_reply(case: GoldenCase) -> None:
    api = fake_api()
    api.read_model.answers[case.question] = case.answer
    first, second = await ask(api, case), await ask(api, case)
    assert api.read_model.asked == [case.question, case.question]
    assert first.status_code == 200
    # As text, so that the order of keys counts.
    assert json.dumps(first.json(), indent=1) == json.dumps(case.read("reply"), indent=1)
    assert first.content == second.content


def test_every_product_that_answers_has_cases() -> None:
    assert {dialect.name for dialect in all_dialects()} == {case.product for case in CASES}


@pytest.mark.parametrize(
    ("product", "name", "sample"),
    [
        ("postme", "document-post", POST_SAMPLE),
        ("postme", "document-channel", CHANNEL_SAMPLE),
        ("powerpost", "document-item", POWERPOST_SAMPLE),
        ("postfuze", "document-post", postfuze.POST_SAMPLE),
        ("postfuze", "document-account", postfuze.ACCOUNT_SAMPLE),
        ("postfuze", "account-without-data", postfuze.NO_METRICS_SAMPLE),
        ("postfuze", "document-health", postfuze.HEALTH_SAMPLE),
    ],
)
def test_the_documents_own_samples_are_cases(product: str, name: str, sample: Any) -> None:
    assert GoldenCase(product, name).read("reply") == sample


def test_rows_have_the_keys_of_the_documents_sample() -> None:
    reply = GoldenCase("openpost", "document-list").read("reply")
    assert list(reply["data"][0]) == list(LIST_SAMPLE["data"][0])


def _keys(value: Any) -> Any:
    """The names of a reply, all the way down."""
    if isinstance(value, dict):
        return {name: _keys(held) for name, held in value.items()}
    return [_keys(held) for held in value if isinstance(held, dict)] if isinstance(value, list) else None


def test_elements_have_the_keys_of_postflows_sample() -> None:
    reply = GoldenCase("postflow", "document-post").read("reply")
    assert json.dumps(_keys(reply)) == json.dumps(_keys(POSTFLOW_SAMPLE))
