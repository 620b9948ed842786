"""Cursors of pages: the place where a page ended, as text that means nothing to a caller. Pure.

A cursor names the last row by its place and id, and not by the number of rows before it. So rows that are added between
two pages neither repeat nor hide other rows.
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

import orjson

from schemas.ids import is_id
from schemas.metrics import INT64_MAX, INT64_MIN
from services.query_api.errors import Invalid


class Cursor(NamedTuple):
    """The last row of a page.

    Attributes:
        place: the number by which rows are sorted, falling.
        id: the id by which rows of the same place are sorted, rising.
    """

    place: int
    id: str


def encode(kind: str, cursor: Cursor) -> str:
    """A cursor as text.

    Args:
        kind: names the list and its order; `decode` refuses a cursor of another kind.
    """
    return base64.urlsafe_b64encode(orjson.dumps([kind, *cursor])).rstrip(b"=").decode()


def decode(kind: str, text: str | None) -> Cursor | None:
    """The inverse of `encode`; None for the first page.

    Raises:
        Invalid: the text is no cursor of this kind.
    """
    if text is None:
        return None
    try:
        match orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))):
            case [str(held), int(place), str(last)] if (
                held == kind and type(place) is int and INT64_MIN <= place <= INT64_MAX and is_id(last)
            ):
                return Cursor(place, last)
    except (binascii.Error, ValueError):
        pass
    raise Invalid("cursor: must be the next_cursor of the page before, asked with the same parameters")
