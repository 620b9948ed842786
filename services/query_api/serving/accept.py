"""What a caller accepts: `Accept` and `Accept-Encoding`, each read by one rule. Pure.

A name without `q` weighs 1, and one whose `q` is no number weighs 0: what a caller did not say clearly is not sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from services.query_api.errors import Header

# Longer than any client's Accept-Encoding.
_LONGEST_CODINGS_BYTES = 200


def weights(header: str) -> dict[str, float]:
    """The names of a header with their weights, from 0 to 1; of a repeated name the last counts."""
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
    """The media type that an Accept likes best, the first of those it likes alike.

    An Accept that names none of them is answered in the first: that is more use to its sender than a refusal.

    Args:
        offered: the server's own liking, best first; not empty.
    """
    told = weights(accept)
    liked = {media_type: _weight(media_type, told) for media_type in offered}
    return max(liked, key=lambda media_type: liked[media_type])


def _weight(media_type: str, told: Mapping[str, float]) -> float:
    """How much a type is liked: as the most exact name that covers it says."""
    family = media_type.partition("/")[0] + "/*"
    return next((told[name] for name in (media_type, family, "*/*") if name in told), 0.0)


def prefers_page(accept: str) -> bool:
    """Whether an Accept names HTML with more weight than JSON, as browsers' do; who takes anything gets JSON."""
    told = weights(accept)
    return told.get("text/html", 0.0) > told.get("application/json", 0.0)


def best_coding(headers: Iterable[Header], offered: Sequence[bytes]) -> bytes | None:
    """The content coding that an Accept-Encoding likes best, the first of those it likes alike; None for none.

    Args:
        headers: names in lower case.
        offered: the server's own liking, best first.
    """
    accepted = b",".join(value for name, value in headers if name == b"accept-encoding")
    return coding_among(accepted, tuple(offered))


def coding_among(accepted: bytes, offered: tuple[bytes, ...]) -> bytes | None:
    """As `best_coding`, of the header's text; one that is longer than any client's is not looked into."""
    return _coding(accepted, offered) if len(accepted) <= _LONGEST_CODINGS_BYTES else None


# Its keys are the callers' own texts, so both their number and their length are bounded.
@lru_cache(maxsize=256)
def _coding(accepted: bytes, offered: tuple[bytes, ...]) -> bytes | None:
    told = weights(accepted.decode("latin-1"))
    liked = {coding: told.get(coding.decode(), told.get("*", 0.0)) for coding in offered}
    best = max(offered, key=lambda coding: liked[coding])
    return best if liked[best] > 0 else None
