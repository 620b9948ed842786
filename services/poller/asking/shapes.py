"""Names the shape of a call: what is the same of all calls of its kind, whoever is asked about; pure.

What a platform refuses of every target is remembered by it, and operators see it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from services.platforms.base import Call
from services.platforms.http_reading import path_part

_KINDS = {"POST_METRICS": "posts", "CHANNEL_METRICS": "channel", "IDENTITY": "identity"}
# Values of parameters that name what is asked for, such as `queryType=IMPRESSION`.
_WORD = re.compile(r"[A-Za-z_]{1,40}")


def shape_of(call: Call, owners: Iterable[str] = ()) -> str:
    """The call's own shape; else its kind, its path without ids, and parameters that are plain words.

    Args:
        owners: external ids of the channels that the call is about.
    """
    if call.shape:
        return call.shape
    ids = {*(target.external_id for target in call.targets), *owners} - {""}
    path = call.path
    for part in sorted({path_part(external_id) for external_id in ids}, key=len, reverse=True):
        path = path.replace(f"/{part}", "/*")
    words = [value for _, value in call.query if _WORD.fullmatch(value) and value not in ids]
    return " ".join([_KINDS.get(call.kind, call.kind), path, *words])
