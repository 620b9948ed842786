"""Makes raw events of answers; pure."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.events import Origin, PlatformRaw, RawTarget
from services.platforms.base import Call, Target
from services.poller.connections.redact import Redactor
from services.poller.schedule.plan import ChannelKey


def raw_event(
    event_id: str,
    key: ChannelKey,
    platform: str,
    call: Call,
    *,
    targets: Sequence[Target],
    status: int,
    body: bytes,
    captured_at: int,
    origin: Origin,
    redactor: Redactor,
) -> PlatformRaw:
    """The event of one answer, with every secret blanked.

    Args:
        targets: those of the call that are this channel's; its request's query has to be theirs alone, too.
        captured_at: ms.
    """
    return PlatformRaw(
        event_id=event_id,
        workspace_id=key[0],
        channel_id=key[1],
        platform=platform,
        kind=call.kind,
        endpoint=redactor.text(call.path),
        request=redactor.texts(call.request_map()),
        targets=tuple([RawTarget(t.target_id, t.post_id, t.external_id) for t in targets]),
        http_status=status,
        body=redactor.body(body),
        captured_at=captured_at,
        origin=origin,
    )
