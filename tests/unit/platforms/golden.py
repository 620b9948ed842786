"""Golden cases of platforms: reading the files, and writing a reading as they do.

`<case>.response.json` is one answer: `source`, `kind`, `endpoint`, `request`, `targets`, `http_status`, `headers`, and
`body` (JSON) or `body_text`. `<case>.events.json` is what must come of it: `outcome` and the verdict's other fields
that are set, `posts` and `channels` with the metrics spoken of (null: hidden; durations in seconds), `gone`, `apart`
(verdicts of single targets that were not answered), `error`.

The cases of a platform that `TIDEMARK_PLATFORMS_PATH` adds are in the `golden` folder beside its file.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from schemas.events import Origin, PlatformRaw, RawTarget
from schemas.metrics import CHANNEL_METRICS, POST_METRICS, Metric, Values, seconds
from services import platforms
from services.platforms.abilities import AnswersApart
from services.platforms.base import MappingError, Outcome, Platform, Verdict

ROOT = Path(__file__).parents[2] / "golden" / "platforms"
ROOTS = (ROOT, *(Path(folder) / "golden" for folder in platforms.__path__[1:]))
# 2026-11-21T01:00:00Z: when all golden answers were received.
RECEIVED_AT = 1_795_222_800_000


def cases() -> list[tuple[str, str]]:
    """Platform and case of every golden answer."""
    return [
        (path.parent.name, path.name.removesuffix(".response.json"))
        for root in ROOTS
        for path in sorted(root.glob("*/*.response.json"))
    ]


def _file(platform: str, name: str) -> bytes:
    folder = next((root / platform for root in ROOTS if (root / platform).is_dir()), ROOT / platform)
    return (folder / name).read_bytes()


def response(platform: str, case: str) -> dict[str, Any]:
    """The answer of a case."""
    loaded: dict[str, Any] = orjson.loads(_file(platform, f"{case}.response.json"))
    return loaded


def expected(platform: str, case: str) -> dict[str, Any]:
    """What must come of it."""
    loaded: dict[str, Any] = orjson.loads(_file(platform, f"{case}.events.json"))
    return loaded


def body_of(answer: dict[str, Any]) -> bytes:
    """The body's bytes."""
    return answer["body_text"].encode() if "body_text" in answer else orjson.dumps(answer["body"])


def raw_event(platform: str, answer: dict[str, Any]) -> PlatformRaw:
    """The raw event that carries an answer."""
    return PlatformRaw(
        event_id="event-1",
        workspace_id="workspace-1",
        channel_id="channel-1",
        platform=platform,
        kind=answer["kind"],
        endpoint=answer["endpoint"],
        request=answer["request"],
        targets=tuple(RawTarget(**target) for target in answer["targets"]),
        http_status=answer["http_status"],
        body=body_of(answer),
        captured_at=RECEIVED_AT,
        origin=Origin.SCHEDULE,
    )


def _spoken(metrics: tuple[Metric, ...], mask: int, values: Values) -> dict[str, Any]:
    """The metrics of a mask; values outside it must be None."""
    shown: dict[str, Any] = {}
    for position, metric in enumerate(metrics):
        if mask >> position & 1:
            value = values[position]
            shown[metric.name] = str(seconds(value)) if metric.is_duration and value is not None else value
        else:
            assert values[position] is None, f"{metric.name} has a value that is not spoken of"
    return shown


def _shown(verdict: Verdict) -> dict[str, Any]:
    """What a verdict says."""
    said = asdict(verdict)
    said.pop("detail")
    return {name: value for name, value in said.items() if value is not None and value is not False}


def outcome_of(platform: Platform, answer: dict[str, Any]) -> dict[str, Any]:
    """What comes of an answer, in the form of `events.json`."""
    event = raw_event(platform.facts.name, answer)
    found = _shown(platform.classify(answer["http_status"], answer["headers"], event.body, RECEIVED_AT))
    if isinstance(platform, AnswersApart):
        told = platform.verdicts(event, answer["headers"], RECEIVED_AT)
        apart = {
            event.targets[position].target_id: _shown(verdict)
            for position, verdict in sorted(told.items())
            if verdict.outcome is not Outcome.OK
        }
        found |= {"apart": apart} if apart else {}
    try:
        reading = platform.read(event)
    except MappingError as error:
        return {**found, "error": error.reason}
    if reading.posts:
        found["posts"] = [
            {
                "target_id": event.targets[post.position].target_id,
                "metrics": _spoken(POST_METRICS, post.spoken, post.values),
                "ranged": [metric.name for at, metric in enumerate(POST_METRICS) if post.ranged >> at & 1],
            }
            for post in sorted(reading.posts)
        ]
    if reading.channels:
        found["channels"] = [
            {
                "period": channel.period,
                "period_start": channel.period_start,
                "period_end": channel.period_end,
                "metrics": _spoken(CHANNEL_METRICS, channel.spoken, channel.values),
            }
            for channel in reading.channels
        ]
    if reading.gone:
        found["gone"] = [event.targets[position].target_id for position in reading.gone]
    return found
