"""The platforms' ids: when a post went out, what is peculiar about it, and how to make one. Pure.

Any id exists. X, Bluesky, LinkedIn and TikTok ids carry their time as the real ones do. Those of the others carry none
in reality; here those that `make_id` makes do, and any other was published at a time within 2025 that follows from it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b

X_EPOCH = 1_288_834_974_657
_MOST_EARLIER_MS = 10
_FIRST = 1_104_537_600_000  # 2005-01-01
_LAST = 4_102_444_800_000  # 2100-01-01
_DERIVED_UNTIL = 1_767_225_600_000  # 2026-01-01
_YEAR_SECONDS = 365 * 86_400

_URL_SAFE = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
_SORTABLE = "234567abcdefghijklmnopqrstuvwxyz"
_BASE_36 = "0123456789abcdefghijklmnopqrstuvwxyz"
# Ids that begin so and carry their time in the digits that follow, as do all that have no form of their own.
_LEADING_DIGIT = {"pinterest": "8", "google_business": "7"}
_USUAL_LEADING_DIGIT = "9"

BEHAVIOURS: dict[str, dict[str, str]] = {
    "x": {
        "40404": "gone",  # deleted: an error in the answer
        "40403": "private",  # not visible to anybody else: an error in the answer
        "40401": "foreign",  # another account's: private figures are refused
        "30101": "edited",  # answers with its newest version, whose id is one higher
        "20000": "old",  # without impression and bookmark counts
        "40410": "malformed_id",  # of the catalogue of refusals, as those below that are named as its rows
    },
    "instagram": {
        "40404": "gone",  # fails the whole request: 100/33
        "42108": "before_business",  # fails the whole request: 100/2108006
        "40010": "few_viewers",  # fails the whole request: 10, not enough viewers
        "20888": "hidden_likes",  # without like_count
        "20000": "no_insights",  # insights with an empty list
        "20071": "reel",  # takes only the names of reels
        "20072": "story",  # takes only the names of stories
        "20073": "feed",  # takes only the names of feed posts
        "20074": "image",  # an image that does not take `shares`
        "50001": "heavy",  # fails with code 1, "reduce the amount of data"
        "40470": "metric_of_other_product",
    },
    "youtube": {
        "_404": "gone",  # left out of the answer
        "_hid": "hidden_likes",  # without likeCount
        "_noc": "comments_off",  # without commentCount
        "_nos": "no_statistics",  # an item without statistics
        "_own": "owner_dislikes",  # with dislikeCount, as rarely for the owner
    },
    "bluesky": {
        "gone": "gone",  # left out of the answer
        "olds": "old",  # without quote and bookmark counts
        "quot": "quoting",  # embeds another post, which has counts of its own
        "badu": "invalid_uri",
    },
    "linkedin": {
        "40404": "gone",  # left out of the answer, as posts without activity are; alone a 404
        "40403": "foreign",  # another author's: fails the whole request
        "20000": "quiet",  # without activity: left out of the answer
        "20666": "negative",  # one like fewer than none
    },
    "facebook": {
        "40404": "gone",  # fails the whole request: 100/33
        "80380": "alias",  # fails the whole request: 803
        "20000": "no_insights",  # insights with an empty list
        "20888": "unshared",  # without shares
        "40410": "deleted",  # fails the whole request: 10, "Object does not exist"
        "50001": "heavy",  # fails with code 1, "reduce the amount of data"
        "20075": "photo",  # of bare ids, which are videos' else
        "20076": "story",
        "40470": "video_node",
    },
    "threads": {
        "40404": "gone",  # 100/33
        "20000": "repost",  # somebody else's post: an empty list
        "20888": "no_views",  # without the insight views
        "40470": "retired_metric",
    },
    "tiktok": {
        "40404": "gone",  # left out of the answer
        "20888": "no_stats",  # a video without its counts
        "64064": "number",  # answers with a bare number for an id
        "40410": "invalid_id",
    },
    "pinterest": {
        "40404": "gone",  # 404
        "40403": "foreign",  # somebody else's: 403
        "20000": "no_metrics",  # a pin without figures
        "20888": "hidden_likes",  # a lifetime without reactions
        "20090": "old",  # figures of 90 days only
    },
    "google_business": {},
    "reddit": {
        "gone": "gone",  # left out of the answer
        "hide": "hidden_likes",  # a score that is not shown yet
        "view": "viewed",  # with a view count
        "olds": "old",  # without a count of crossposts
        "remo": "removed",  # removed by a moderator: answers still
    },
}
"""For each platform, the endings of ids that make a post peculiar; a name of the catalogue of refusals makes every call
about the post meet that refusal. An X id that ends in 7 carries a video."""
_USUAL_BEHAVIOURS = {"40404": "gone", "20888": "hidden_likes"}


def behaviours_of(platform: str) -> dict[str, str]:
    """Endings of a platform's ids, each with what it makes peculiar; of one that is not listed, the usual two."""
    return BEHAVIOURS.get(platform, _USUAL_BEHAVIOURS)


def behaviour(platform: str, external_id: str) -> str:
    """What is peculiar about a post; empty for nearly all."""
    endings = behaviours_of(platform)
    return endings.get(external_id[-5:]) or endings.get(external_id[-4:]) or ""


def _leading_digit(platform: str) -> str:
    return _LEADING_DIGIT.get(platform, _USUAL_LEADING_DIGIT)


def has_video(external_id: str) -> bool:
    """Whether a post of X carries a video."""
    return external_id.endswith("7")


def _derived(platform: str, external_id: str) -> int:
    number = int.from_bytes(blake2b(f"{platform}\n{external_id}".encode(), digest_size=8).digest(), "big")
    return _DERIVED_UNTIL - number % _YEAR_SECONDS * 1000


def _digits_value(text: str, digits: str) -> int | None:
    value = 0
    for character in text:
        found = digits.find(character)
        if found < 0:
            return None
        value = value * len(digits) + found
    return value


@lru_cache(maxsize=1 << 16)
def published_at(platform: str, external_id: str) -> int:
    """When a post went out, in ms since the epoch."""
    at: int | None = None
    if platform == "x" and external_id.isascii() and external_id.isdigit():
        at = (int(external_id[:20]) >> 22) + X_EPOCH
    elif platform == "instagram" and re.fullmatch(r"17\d{16}", external_id, re.ASCII):
        at = int(external_id[2:15])
    elif platform == "facebook" and re.fullmatch(r"(?:\d{1,20}_)?12\d{16}", external_id, re.ASCII):
        at = int(external_id[-16:-3])
    elif platform == "threads" and re.fullmatch(r"18\d{16}", external_id, re.ASCII):
        at = int(external_id[2:15])
    elif platform == "linkedin" and re.fullmatch(r"(?:urn:li:(?:share|ugcPost):)?\d{19}", external_id, re.ASCII):
        at = int(external_id[-19:]) >> 22
    elif platform == "tiktok" and re.fullmatch(r"\d{19}", external_id, re.ASCII):
        at = (int(external_id) >> 32) * 1000 + min(999, (int(external_id) >> 22) % 1024)
    elif platform == "reddit" and re.fullmatch(r"t3_[0-9a-z]{13}", external_id, re.ASCII):
        at = _digits_value(external_id[3:12], _BASE_36)
    elif platform == "youtube" and re.fullmatch(r"T[\w-]{10}", external_id, re.ASCII):
        at = _digits_value(external_id[1:8], _URL_SAFE)
    elif platform == "bluesky":
        key = external_id.rpartition("/")[2]
        micros = _digits_value(key, _SORTABLE) if len(key) == 13 else None
        at = None if micros is None else (micros >> 10) // 1000
    elif re.fullmatch(rf"{_leading_digit(platform)}\d{{18}}", external_id, re.ASCII):
        at = int(external_id[1:14])
    return at if at is not None and _FIRST <= at < _LAST else _derived(platform, external_id)


def _written(value: int, digits: str, length: int) -> str:
    text = ""
    for _ in range(length):
        value, digit = divmod(value, len(digits))
        text = digits[digit] + text
    return text


def make_id(
    platform: str, published: int, number: int, peculiar: str = "", account: str = "did:plc:sandboxsandboxsandboxsan"
) -> str:
    """An id of a post that went out at an instant.

    Args:
        published: ms; `published_at` gives it back, up to 100 ms off for peculiar ids and many numbers.
        number: tells posts of one instant apart; below 1000. Of posts that went out a millisecond apart with one
            number, two may get one id.
        peculiar: one of the platform's behaviours; without it there is nothing peculiar about the post, unless its
            number alone, of 20,000 and above, makes it so.
        account: the did that a Bluesky post belongs to, or the page of a Facebook post.
    """
    ending = next((text for text, name in behaviours_of(platform).items() if name == peculiar), "")
    made = _made(platform, published, number, account)
    if ending:
        return made[: len(made) - len(ending)] + ending
    # Of Instagram's ids with some numbers one in a hundred is peculiar, by the millisecond that the post went out in.
    earlier = (_made(platform, published - millis, number, account) for millis in range(_MOST_EARLIER_MS))
    return next((each for each in earlier if not behaviour(platform, each)), made)


def _made(platform: str, published: int, number: int, account: str) -> str:
    if platform == "x":
        # 977 is odd and no multiple of 5, so that the last digits vary.
        made = str(((published - X_EPOCH) << 22) + number * 977)
    elif platform == "instagram":
        made = f"17{published * 1000 + number:016d}"
    elif platform == "facebook":
        page = account if account.isdigit() else "104583221947103"
        made = f"{page}_12{published * 1000 + number:016d}"
    elif platform == "threads":
        made = f"18{published * 1000 + number:016d}"
    elif platform == "linkedin":
        kind = "ugcPost" if number % 5 == 4 else "share"
        made = f"urn:li:{kind}:{(published << 22) + number * 977}"
    elif platform == "tiktok":
        made = str((published // 1000 << 32) + (published % 1000 << 22) + number * 977)
    elif platform == "reddit":
        made = f"t3_{_written(published, _BASE_36, 9)}{_written(number, _BASE_36, 4)}"
    elif platform == "youtube":
        made = "T" + _written(published, _URL_SAFE, 7) + _written(number, _URL_SAFE, 3)
    elif platform == "bluesky":
        key = _written((published * 1000 + number) << 10, _SORTABLE, 13)
        made = f"at://{account}/app.bsky.feed.post/{key}"
    else:
        made = f"{_leading_digit(platform)}{published:013d}{number:05d}"
    return made
