"""The endpoints of changes."""

from __future__ import annotations

from typing import Any

from services.query_api.errors import ChangesUnavailable, CursorExpired
from services.query_api.reads.sources import Sources
from services.query_api.serving.actions import reads
from services.query_api.serving.endpoint import Endpoint, Parameter
from services.query_api.tidemark import PREFIX
from services.query_api.tidemark.changes import models
from services.query_api.tidemark.changes.parameters import ChangesParameters, StreamParameters
from services.query_api.tidemark.changes.reads import list_changes
from services.query_api.tidemark.changes.stream import MEDIA_TYPE, stream_changes

ENDPOINTS: tuple[Endpoint[Sources, Any, Any], ...] = (
    Endpoint(
        id="listChanges",
        path=f"{PREFIX}/changes",
        summary="What changed since a cursor",
        description="Posts, channels and accounts whose present state differs from what it was at the cursor, or may. "
        "Without a cursor everything that exists comes first. Whoever applies all changes in order to an empty map "
        "holds what the API says: a thing may come again, but never an older state after a newer one. `wait` holds an "
        "empty page back until something changes.",
        action=reads(ChangesParameters, list_changes, by_turns=False, is_timed=False),
        sample=models.PAGE,
        schema=models.PAGE_SCHEMA,
        errors=(CursorExpired, ChangesUnavailable),
    ),
    Endpoint(
        id="streamChanges",
        path=f"{PREFIX}/stream",
        summary="Changes as they come",
        description="The same changes as server-sent events: `id` is the cursor after the change, `event` its type, "
        "`data` the change. A comment comes every 15 s. A reader that is too slow is cut off. Whoever is cut off "
        "resumes with the last id, in `Last-Event-ID` or as `cursor`, and with the same `types`: of a type that is "
        "added then, everything that exists comes first.",
        action=reads(StreamParameters, stream_changes, by_turns=False, is_timed=False),
        headers=(
            Parameter(
                "Last-Event-ID", "The `id` of the last event that was read; counts before `cursor`.", place="header"
            ),
        ),
        # Of the data of each event; for the description of streams.
        schema=models.CHANGE_SCHEMA,
        media_types=(MEDIA_TYPE,),
        text_samples={MEDIA_TYPE: models.STREAM},
        errors=(CursorExpired, ChangesUnavailable),
    ),
)
