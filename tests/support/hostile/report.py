"""One table of a hostile run, for whoever reads the test's output."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.hostile.traffic import Seen, quantile
from tests.support.hostile.watcher import Watcher

MIB = 1024 * 1024
WIDTH = 52
_LOGGED = re.compile(r'level=(warning|error|critical) .*?event=("[^"]{,60}|\S{,60})')


def table(
    seed: int, seconds: float, quiet: Seen, attacked: Seen, reports: Mapping[str, Mapping[str, Any]], watcher: Watcher
) -> str:
    """Attacks by kind, answers by kind, and what the tenants and the watcher saw."""
    lines = [f"hostile run, seed {seed}, {seconds:g} s", ""]
    for role, told in reports.items():
        lines.append(f"{role}: {sum(told['sent'].values())} attacks")
        lines += _counts("sent", told["sent"])
        lines += _counts("answered", told["answers"])
        lines += [f"  BREACH {breach[:200]}" for breach in told["breaches"]]
    lines += ["", f"{'tenants':{WIDTH}} {'quiet':>10} {'attacked':>10}"]
    for what, share in (("p50 of reads, ms", 0.5), ("p99 of reads, ms", 0.99), ("slowest read, ms", 1.0)):
        lines.append(_row(what, quantile(quiet.took, share) * 1000, quantile(attacked.took, share) * 1000))
    for kind in sorted(attacked.took_by_kind):
        before, after = quiet.took_by_kind.get(kind, []), attacked.took_by_kind[kind]
        lines.append(_row(f"  p99 of {kind}", quantile(before, 0.99) * 1000, quantile(after, 0.99) * 1000))
    for what, share in (("p99 of lateness, s", 0.99), ("greatest lateness, s", 1.0)):
        lines.append(_row(what, quantile(quiet.late, share), quantile(attacked.late, share), digits=2))
    lines.append(_row("reads", len(quiet.took), len(attacked.took)))
    lines.append(_row("events published", quiet.published, attacked.published))
    lines.append(_row("failed reads", quiet.failed.total(), attacked.failed.total()))
    lines.append(_row("wrong figures", len(quiet.wrong), len(attacked.wrong)))
    slowest = max(watcher.health_seconds, default=0.0)
    lines += [
        "",
        f"/healthz: p99 {quantile(watcher.health_seconds, 0.99) * 1000:.0f} ms, slowest {slowest * 1000:.0f} ms",
    ]
    lines[-1] += f", failed {len(watcher.health_failures)} of {len(watcher.health_seconds)}"
    lines += [f"{f'peak memory of {name}, MiB':{WIDTH}} {size // MIB:>10}" for name, size in watcher.peaks.items()]
    lines += [
        f"{f'processor time of {name}, s':{WIDTH}} {used:>10.0f}"
        for name, used in sorted(watcher.cpu_seconds.items(), key=lambda one: -one[1])
    ]
    return "\n".join(lines)


def _counts(title: str, counts: Mapping[str, int], most: int = 40) -> list[str]:
    ordered = Counter(counts).most_common()
    rows = [f"  {title:9}{name[: WIDTH - 11]:{WIDTH - 11}} {count:>10}" for name, count in ordered[:most]]
    if len(ordered) > most:
        rest = sum(count for _, count in ordered[most:])
        rows.append(f"  {title:9}{f'{len(ordered) - most} other kinds':{WIDTH - 11}} {rest:>10}")
    return rows


def _row(what: str, quiet: float, attacked: float, digits: int = 0) -> str:
    return f"{what:{WIDTH}} {quiet:>10.{digits}f} {attacked:>10.{digits}f}"


def log_lines(folder: Path, most: int = 12) -> str:
    """How often the services logged something above `info`, by service, level and event."""
    found: Counter[str] = Counter()
    for path in sorted(folder.glob("*.log")):
        for line in path.read_text(errors="replace").splitlines():
            if (said := _LOGGED.search(line)) is not None:
                found[" ".join((path.stem, said[1], said[2].strip('"')))] += 1
    return "\n".join(["logged:", *_counts("", dict(found), most)])
