"""A collector beside `tidemark up`: one poll's trace, from the call to the insert, across two processes and Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.topic_names import RAW
from tests.support.collector import Collector, Exported, collecting
from tests.support.tidemark import Tidemark
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
TOKEN = "sandbox-traced-token-0815"
CALL, SEND, PROCESS = "GET youtube channel", f"send {RAW}", f"process {RAW}"


def _by_name(collector: Collector, trace_id: bytes) -> dict[str, Exported]:
    return {span.name: span for span in collector.spans if span.trace_id == trace_id}


def test_one_polls_trace_reaches_the_insert(tmp_path: Path) -> None:
    with collecting() as collector:
        tidemark = Tidemark(
            tmp_path,
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "OTEL_EXPORTER_OTLP_HEADERS": "x-collector-key=not-for-spans",
                "OTEL_BSP_SCHEDULE_DELAY": "200",
            },
        )
        try:
            tidemark.start()
            tidemark.put_channel("w", "c", platform="youtube", external_id="UC_traced", access_token=TOKEN)
            target = {"target_id": "t", "channel_id": "c", "status": "published", "external_id": "video-1"}
            tidemark.put_post("w", "p", [target], published_at="2026-11-01T00:00:00Z")

            def inserted() -> list[Exported]:
                calls = {span.trace_id for span in collector.spans if span.name == CALL}
                return [span for span in collector.spans if span.trace_id in calls and span.name.startswith("INSERT ")]

            wait_until(inserted, 120, lambda: f"{tidemark.log('poller')} {tidemark.log('aggregator')}")
            (insert, *_) = inserted()
            batches = {span.span_id for span in collector.spans if span.name == "write batch"}
            wait_until(
                lambda: insert.links[0] in {span.span_id for span in collector.spans if span.name == "write batch"},
                60,
                lambda: f"the batch's own span: {batches}",
            )
            trace = _by_name(collector, insert.trace_id)
            assert trace.keys() == {CALL, SEND, PROCESS, insert.name}
            chain = [trace[CALL], trace[SEND], trace[PROCESS], insert]
            assert [span.parent_id for span in chain] == [b"", *(span.span_id for span in chain[:-1])]
            assert [span.resource["service.name"] for span in chain] == [
                "tidemark-poller", "tidemark-poller", "tidemark-aggregator", "tidemark-aggregator",
            ]  # fmt: skip
            assert [span.resource["service.instance.id"] for span in chain[1:3]] == ["poller-0", "aggregator-0"]
            assert trace[CALL].attributes["http.response.status_code"] == 200
            (batch,) = [span for span in collector.spans if span.span_id == insert.links[0]]
            assert trace[PROCESS].span_id in batch.links
            began = chain[0].start
            for span in (*chain, batch, *(part for part in collector.spans if part.parent_id == batch.span_id)):
                print(f"{span.name}: {(span.start - began) / 1e6:.1f} ms + {(span.end - span.start) / 1e6:.1f} ms")

            # The event is stored when its span says so, and nothing of the trace is in what subscribers read.
            event_id = trace[SEND].attributes["messaging.message.id"]
            sql = f"SELECT count() AS n FROM raw_events WHERE event_id = '{event_id}'"
            assert tidemark.query(sql) == [{"n": 1}]
            assert not [body for body in collector.bodies if TOKEN.encode() in body or b"not-for-spans" in body]
        finally:
            assert tidemark.stop() == 0
