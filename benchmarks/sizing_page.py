"""Writes `docs/sizing.md`: what 10 thousand, a million and a hundred million posts take, with the arithmetic.

python -m benchmarks.sizing_page          writes it
python -m benchmarks.sizing_page --check  says whether it is up to date, and changes nothing
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from textwrap import wrap

from benchmarks.report import RESULTS
from benchmarks.sizing import SIZES, Assumed, Measured, Sizing, first_limit, measured, polls_of_a_post
from infra.generated import write_or_check

PAGE = RESULTS.parents[1] / "docs" / "sizing.md"
_HEADER = """# Sizing

<!-- Written by `python -m benchmarks.sizing_page` from benchmarks/results; change that instead. -->

"""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _size(count: float) -> str:
    for unit, length in (("TiB", 2**40), ("GiB", 2**30)):
        if count >= length:
            return f"{count / length:,.1f} {unit}"
    return f"{count / 2**20:,.0f} MiB"


def page(found: Measured, assumed: Assumed | None = None) -> str:
    """The page's text."""
    plan = assumed or Assumed()
    sizings = [Sizing(posts, found, plan) for posts in SIZES]
    rows: list[tuple[str, list[str]]] = [
        ("channels", [f"{one.channels:,.0f}" for one in sizings]),
        ("polls of posts a day", [f"{one.snapshots:,.0f}" for one in sizings]),
        ("calls to platforms a day", [f"{one.events:,.0f}" for one in sizings]),
        ("calls a second at the peak", [f"{one.calls_a_second_at_peak:,.1f}" for one in sizings]),
        ("pollers", [f"{one.pollers:,}" for one in sizings]),
        ("memory of all pollers for their posts", [_size(one.posts * found.target_bytes_of_poller) for one in sizings]),
        ("aggregators", [f"{one.aggregators:,}" for one in sizings]),
        ("their busy cores at the peak", [f"{one.aggregator_cores_at_peak:,.2f}" for one in sizings]),
        ("partitions (`TIDEMARK_TOPIC_PARTITIONS`)", [f"{one.partitions:,}" for one in sizings]),
        ("brokers", [f"{one.brokers:,}" for one in sizings]),
        ("bytes in Kafka, all replicas", [_size(one.kafka_bytes) for one in sizings]),
        ("ClickHouse: snapshots and figures of a year", [_size(one.clickhouse_bytes) for one in sizings]),
        ("ClickHouse: raw events of a year", [_size(one.clickhouse_raw_bytes) for one in sizings]),
        ("X's bill a month", [f"${one.x_dollars_a_month:,.0f}" for one in sizings]),
        ("first limit", [first_limit(one) for one in sizings]),
    ]
    table = _table(["posts", *(f"{one.posts:,}" for one in sizings)], [[name, *cells] for name, cells in rows])
    return (
        _HEADER
        + "\n".join([*_introduction(plan), *table, "", *_arithmetic(sizings[1]), "", *_limits(sizings[1])])
        + "\n"
    )


def _introduction(plan: Assumed) -> Iterator[str]:
    yield from _prose(
        "What an installation takes, reckoned from figures that `make bench` measured on two cores. A post here is",
        "one post",
        f"on one channel that was published within the last {plan.span_days} days, which is how long its figures",
        "are asked",
        "for.",
    )
    yield ""


def _prose(*parts: str, bullet: bool = False) -> list[str]:
    """Lines of a paragraph, or of an item of a list."""
    text = " ".join(parts)
    return wrap(f"- {text}" if bullet else text, 120, subsequent_indent="  " if bullet else "", break_long_words=False)


def _arithmetic(one: Sizing) -> Iterator[str]:
    found, plan = one.measured, one.assumed
    busiest = f"{one.events:,.0f} / 86,400 x {plan.peak:g} = {one.calls_a_second_at_peak:,.2f} calls a second"
    yield from ("## The arithmetic", "")
    yield from _prose(
        f"Assumed, since it differs by installation: posts are spread evenly over {len(one.platforms)} platforms",
        "and over",
        f"{plan.span_days} days; a channel has {plan.posts_a_channel} of them; the busiest hour has {plan.peak:g}",
        "times",
        f"the mean; a core is planned to be {plan.share_used:.0%} busy then; topics have {plan.replicas} replicas",
        "and keep",
        f"{plan.retention_days} days; a broker has {plan.broker_gib:,} GiB; there are {plan.partitions_a_process}",
        "partitions",
        "for each process, since their number can't be changed. For a million posts:",
    )
    yield ""
    yield from _prose(
        "**Polls.** By the tiers of `schemas/tiers.py` a post is asked for",
        f"{polls_of_a_post('youtube', plan.span_days):.1f}",
        f"times, on X {polls_of_a_post('x', plan.span_days):.1f} times. {one.posts:,} / {plan.span_days} days times",
        "these,",
        f"by platform: {one.snapshots:,.0f} a day.",
        bullet=True,
    )
    yield from _prose(
        "**Calls.** Polls divided by the posts that a call asked for in `poller`, with 50 posts a channel:",
        ", ".join(f"{name} {count:.3g}" for name, count in sorted(found.targets_a_call.items())) + ".",
        f"And {found.other_calls_a_channel_and_day:.1f} calls a channel and day for its own figures, lists and",
        "tokens:",
        f"{one.events:,.0f} a day.",
        bullet=True,
    )
    yield from _prose(
        f"**Pollers.** {busiest}; a process makes {found.calls_a_second:,.0f} (`poller_calls`), planned with",
        f"{found.calls_a_second * plan.share_used:,.0f}. A post takes {found.target_bytes_of_poller:.0f} bytes of",
        "its memory.",
        bullet=True,
    )
    yield from _prose(
        f"**Aggregators.** An event takes {found.worker_micros[0]:,.0f} us of a worker's core, and",
        f"{found.worker_micros[1]:,.0f} us more for each post in it (`footprint`).",
        bullet=True,
    )
    yield from _prose(
        f"**Kafka.** An event takes {found.event_bytes[0]:,.0f} bytes and {found.event_bytes[1]:,.0f} for each post",
        "in it, a",
        f"snapshot's message {found.snapshot_bytes:,.0f}, a post's rollup {found.rollup_bytes:,.0f} (compacted: one",
        "a",
        "post); times the days kept and the replicas.",
        bullet=True,
    )
    yield from _prose(
        f"**ClickHouse.** A snapshot takes {found.snapshot_row_bytes:.1f} bytes, a post's latest figures and totals",
        f"{found.state_row_bytes:.0f}, on one replica, merged. Raw events are reckoned with Kafka's bytes,",
        "an upper bound:",
        f"there each is compressed alone, here they took {found.raw_row_bytes[0]:,.0f} bytes with one post and",
        f"{found.raw_row_bytes[1]:,.0f} with twenty, since the benchmark's bodies (X's, with all fields) are alike.",
        "`TIDEMARK_RAW_EVENTS_RETENTION_DAYS` and `TIDEMARK_SNAPSHOTS_RETENTION_DAYS` bound both.",
        bullet=True,
    )
    yield from _prose(
        "**X.** A post costs $0.005 on each of the four UTC dates that its 72 hours touch, an account $0.01 a day",
        "(`TIDEMARK_X_PRICES`); `TIDEMARK_X_MONTHLY_BUDGET_USD` bounds it.",
        bullet=True,
    )
    yield from _prose(
        f"**Reads.** One worker of the query API answers {found.hot_reads_a_second:,.0f} requests a second that it",
        "holds,",
        f"and {found.cold_reads_a_second:,.0f} that it reads from its store (`reads`). Readers are not posts, so no",
        "row of",
        "the table counts them.",
        bullet=True,
    )


def _limits(one: Sizing) -> Iterator[str]:
    fixed, a_target = one.measured.worker_micros
    yield from ("## The first limit", "")
    yield from _prose(
        "Platforms allow an app a number of calls, whatever it runs on. What they publish of posts' calls, for a",
        "million",
        "posts, at the peak:",
    )
    yield ""
    yield from _table(
        ["platform", "group", "used", "full with posts"],
        [[use.platform, use.group, f"{use.used:.1%}", f"{one.posts / use.used:,.0f}"] for use in one.limits],
    )
    yield ""
    yield from _prose(
        f"So the first limit is {one.limits[0].platform}'s, with {one.posts / one.limits[0].used:,.0f} posts of all",
        "platforms; the platform extends an app's quota on request. LinkedIn's limits of members' posts are those",
        "of its",
        "development tier, and unpublished else. Limits of single accounts grow with the accounts. Within Tidemark",
        "the",
        "first limit is one tenant: all of a tenant's messages are in one partition, so one worker folds them, some",
        f"{1e6 / (fixed / 20 + a_target):,.0f} snapshots a second at twenty posts an answer.",
    )


def main(arguments: Sequence[str]) -> int:
    """Write or check the page; the exit code."""
    return write_or_check(PAGE, page(measured()), "benchmarks.sizing_page", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
