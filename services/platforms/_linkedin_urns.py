"""LinkedIn's names of things: urns of posts and organizations, and how lists and records of them are written.

Documentation: https://learn.microsoft.com/en-us/linkedin/shared/api-guide/concepts/urns, .../protocol-version; read
    2026-11-30. No platform of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote

from schemas.events import PlatformRaw
from services.platforms import base, json_reading

# Brackets, commas and colons are the syntax of lists and records; urns in them come escaped.
RESTLI = "(),:%"
POST_URN = re.compile(r"urn:li:(?:share|ugcPost|activity):[\w-]{1,64}", re.ASCII)


def urn_of(external_id: str) -> str:
    """A post's urn: a number alone is a share's."""
    return f"urn:li:share:{external_id}" if external_id.isascii() and external_id.isdigit() else external_id


def address(urn: str) -> str | None:
    """A post's page; None for a urn of something else."""
    return f"https://www.linkedin.com/feed/update/{urn}/" if POST_URN.fullmatch(urn) else None


def organization_of(channel: base.Channel) -> str | None:
    """The organization's urn; None for a member."""
    external_id = channel.external_id
    if external_id.isascii() and external_id.isdigit():
        return f"urn:li:organization:{external_id}"
    return external_id if external_id.startswith("urn:li:organization") else None


def escaped(urn: str) -> str:
    """A urn within a list or a record."""
    return quote(urn, safe="")


def listed(urns: Sequence[str]) -> str:
    """Urns as a list."""
    return f"List({','.join(map(escaped, urns))})"


def entity_of(urn: str) -> str:
    """A post as a member's resources name it."""
    return f"({'ugc' if urn.startswith('urn:li:ugcPost:') else 'share'}:{escaped(urn)})"


def wanted(event: PlatformRaw) -> dict[str, list[int]]:
    """Where in the event's targets each post's urn stands."""
    found: dict[str, list[int]] = {}
    for external_id, indexes in json_reading.positions(event).items():
        found.setdefault(urn_of(external_id), []).extend(indexes)
    return found


def named_urn(text: Any) -> str | None:
    """The post's urn in a parameter or an entity, escaped or not; None when there is none."""
    found = POST_URN.search(unquote(text)) if isinstance(text, str) else None
    return found[0] if found else None
