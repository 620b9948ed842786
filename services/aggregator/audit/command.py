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

CLEAN, DIFFERENT, UNUSABLE = 0, 1, 2
# By the name of the check. All that is derived is made anew from what it is derived from.
MENDS = {
    "raw_events": "`tidemark rebuild` stores what platform.raw still holds",
    CHANNELS: "`tidemark rebuild` reads the topic again",
    POSTS: "`tidemark rebuild` reads the topic again",
    "latest_post_metrics": "`tidemark rebuild` makes it anew from raw events and catalog",
    "latest_channel_metrics": "`tidemark rebuild` makes it anew from raw events and catalog",
    "post_totals": "`tidemark rebuild` makes it anew from raw events and catalog",
    "channel_totals": "`tidemark rebuild` makes it anew from raw events and catalog",
    POST_ROLLUPS: "`tidemark rebuild` tells the topic again",
    CHANNEL_ROLLUPS: "`tidemark rebuild` tells the topic again",
}


def run(options: Options) -> int:
    """Audit and print; returns the exit code: 0 clean, 1 when anything differs."""
    settings = load_or_exit(AuditSettings)
    summary = Summary()
    try:
        with ProgressBar("audit") as bar:
            for difference in audit(settings, options, SystemClock(), bar.show, summary):
                for line in lines(difference):
                    bar.print(line)
    except (AuditFailed, TopicUnreadable, RegistryUnavailable) as error:
        exit_with(str(error), UNUSABLE)
    verdict = f"{summary.differences} differ" if summary.differences else "no differences"
    share = f", a sample of {options.sample.fraction:.2%}" if options.sample.fraction < 1 else ""
    print(  # noqa: T201 - a command line prints
        f"audit: {verdict}; {summary.rows} rows in {summary.parts} parts and {summary.rollups} rollups "
        f"in {summary.seconds:.1f} s{share}",
        file=sys.stderr,
    )
    for name, count in summary.by_check.items():
        print(f"audit: {name}: {count} differ; to mend: {MENDS[name]}", file=sys.stderr)  # noqa: T201 - likewise
    return DIFFERENT if summary.differences else CLEAN


def lines(difference: Difference) -> list[str]:
    """A difference as tab-separated lines, one a field."""
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
