"""Reads `Accept` and `Accept-Encoding`, both by one rule. Pure.

A name without `q` has weight 1. A name whose `q` is not a number has weight 0, so that it is never sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from services.query_api.errors import Header

# Longer than any client's Accept-Encoding.
_LONGEST_CODINGS_BYTES = 200


def weights(header: str) -> dict[str, float]:
    """The names of a header with their weights, from 0 to 1; the last weight of a repeated name counts."""
    found: dict[str, float] = {}
    for part in header.lower().split(","):
        name, *options = (text.strip() for text in part.split(";"))
        if name:
            told = [option[2:] for option in options if option.startswith("q=")]
            found[name] = _number(told[-1]) if told else 1.0
    return found


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return 0.0
    # No comparison holds for NaN, so it weighs 0 too.
    return min(number, 1.0) if number > 0 else 0.0


def accept_of(headers: Iterable[Header]) -> str:
    """The whole `Accept` of a request, whose headers have names in lower case."""
    return b",".join(value for name, value in headers if name == b"accept").decode("latin-1")


def best_media_type(accept: str, offered: Sequence[str]) -> str:
    """The offered media type with the greatest weight in an Accept; the first of several with equal weight.

    An Accept that names no offered type gets the first one, which is more use to its sender than a refusal.

    Args:
        offered: in the server's order of preference; not empty.
    """
    told = weights(accept)
    liked = {media_type: _weight(media_type, told) for media_type in offered}
    return max(liked, key=lambda media_type: liked[media_type])


def _weight(media_type: str, told: Mapping[str, float]) -> float:
    """A type's weight: that of the most exact name that covers the type."""
    family = media_type.partition("/")[0] + "/*"
    return next((told[name] for name in (media_type, family, "*/*") if name in told), 0.0)


def prefers_page(accept: str) -> bool:
    """Whether an Accept gives HTML more weight than JSON, as browsers' do; a caller that accepts anything gets JSON."""
    told = weights(accept)
    return told.get("text/html", 0.0) > told.get("application/json", 0.0)


def best_coding(headers: Iterable[Header], offered: Sequence[bytes]) -> bytes | None:
    """The offered content coding with the greatest weight in an Accept-Encoding; None when it names none of them.

    Args:
        headers: names in lower case.
        offered: in the server's order of preference; the first of several with equal weight is taken.
    """
    accepted = b",".join(value for name, value in headers if name == b"accept-encoding")
    return coding_among(accepted, tuple(offered))


def coding_among(accepted: bytes, offered: tuple[bytes, ...]) -> bytes | None:
    """As `best_coding`, from the header's text; a text longer than any client's gives None."""
    return _coding(accepted, offered) if len(accepted) <= _LONGEST_CODINGS_BYTES else None


# The cache's keys are texts from callers, so their number and their length are both bounded.
@lru_cache(maxsize=256)
def _coding(accepted: bytes, offered: tuple[bytes, ...]) -> bytes | None:
    told = weights(accepted.decode("latin-1"))
    liked = {coding: told.get(coding.decode(), told.get("*", 0.0)) for coding in offered}
    best = max(offered, key=lambda coding: liked[coding])
    return best if liked[best] > 0 else None
