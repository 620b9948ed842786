"""`tidemark audit` at the terminal: differences to standard output, progress and summary to standard error."""

from __future__ import annotations

import sys

from schemas.topic_names import CHANNEL_ROLLUPS, CHANNELS, POST_ROLLUPS, POSTS
from services.aggregator.audit.run import AuditSettings, Options, Summary, audit
from services.aggregator.audit.store import AuditFailed, Difference
from services.aggregator.topic_reader import TopicUnreadable
from services.runtime.clock import SystemClock
from services.runtime.progress import ProgressBar
from services.runtime.registry import RegistryUnavailable
from services.runtime.settings import exit_with, load_or_exit
from services.runtime.wording import counted

CLEAN, DIFFERENT, UNUSABLE = 0, 1, 2
# How to mend differences, by the check's name: derived rows and messages are made anew from their sources.
MENDS = {
    "raw_events": "`tidemark rebuild` stores what platform.raw still holds",
    CHANNELS: "`tidemark rebuild` reads the topic again",
    POSTS: "`tidemark rebuild` reads the topic again",
    "latest_post_metrics": "`tidemark rebuild` makes it anew from raw events and catalog",
    "latest_channel_metrics": "`tidemark rebuild` makes it anew from raw events and catalog",
    "post_totals": "`tidemark rebuild` makes it anew from raw events and catalog",
    "channel_totals": "`tidemark rebuild` makes it anew from raw events and catalog",
    POST_ROLLUPS: "`tidemark rebuild` publishes the rollups again",
    CHANNEL_ROLLUPS: "`tidemark rebuild` publishes the rollups again",
}


def run(options: Options) -> int:
    """Audit and print the differences; returns the exit code: 0 without differences, 1 with differences.

    The process ends with exit code 2 when ClickHouse, Kafka or the registry can't be used.
    """
    settings = load_or_exit(AuditSettings)
    summary = Summary()
    try:
        with ProgressBar("audit") as bar:
            for difference in audit(settings, options, SystemClock(), bar.show, summary):
                for line in lines(difference):
                    bar.print(line)
    except (AuditFailed, TopicUnreadable, RegistryUnavailable) as error:
        exit_with(str(error), UNUSABLE)
    verdict = counted(summary.differences, "difference") if summary.differences else "no differences"
    share = f", a sample of {options.sample.fraction:.2%}" if options.sample.fraction < 1 else ""
    # At night the operator wants to know which step it was that took so long.
    longest = sorted(summary.seconds_by_step.items(), key=lambda step: -step[1])
    told = [
        f"audit: {verdict}; {counted(summary.rows, 'row')} in {counted(summary.parts, 'part')} and "
        f"{counted(summary.rollups, 'rollup')} in {summary.seconds:.1f} s{share}",
        "audit: by step: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in longest),
        *(
            f"audit: {name}: {counted(count, 'difference')}; to mend: {MENDS[name]}"
            for name, count in summary.by_check.items()
        ),
    ]
    print("\n".join(told), file=sys.stderr)  # noqa: T201 - a command line prints
    return DIFFERENT if summary.differences else CLEAN


def lines(difference: Difference) -> list[str]:
    """A difference as tab-separated lines, one for each field that differs."""
    return [
        "\t".join(
            (
                difference.check,
                difference.workspace_id,
                difference.label,
                name,
                f"stored {_text(stored)}",
                f"recomputed {_text(recomputed)}",
            )
        )
        for name, stored, recomputed in difference.fields
    ]


def _text(value: str | None) -> str:
    return "null" if value is None else value.replace("\t", " ").replace("\n", " ")
