"""Google Business Profile, the Performance API: figures of a location, by day.

Documentation: https://developers.google.com/my-business/reference/performance/rest/v1/locations; read 2026-11-30.
Auth: Google OAuth 2.0, access token of 1 h, refresh token until revoked; scope business.manage. Access to the APIs is
    granted by a form.
Rate limit: 300 requests a minute a project; no headers. A limit of "0" in the error means that access was never
    granted.
Poll interval: the channel's; days are several days late and go 18 months back.
Cannot supply: any figure of a post (`localPosts:reportInsights` is retired), followers, reach, likes, comments.

Changed since 2026-11-20, when these pages were read before: `BUSINESS_CONVERSATIONS` is past its removal date
(2026-01-31) and is not asked for any more.

Uncertain, and how it is read here:
- Values are 64-bit integers in strings. A dated point without `value` is 0, one whose value is null is unknown, and
  so is the day's sum; a series without points, or without the
  day in question, says nothing of it.
- Impressions of a day are the sum of the four kinds (desktop and mobile, Maps and Search). A kind that has no point at
  all is left out of the sum; where a kind has points but not this day's, the day is not said yet.
- `:getDailyMetricsTimeSeries` answers one kind alone, which is too little to be the impressions: it says nothing.
- Each kind counts a person once a day, so the sum is impressions and not reach, and days may be added up.
- Clicks, calls, direction requests and the like have no common channel column; they are asked for and kept raw.
- Which zone a date belongs to is not documented; it is read as UTC.
- The four-level nesting of the documentation (`multiDailyMetricTimeSeries[].dailyMetricTimeSeries[]`) is also seen
  with one level less; both are read.
- A metric that is not there any more refuses the whole request; the sentence names it, or only says that an argument is
  invalid.
- A location is `locations/{id}`; longer names (`accounts/{a}/locations/{id}`) are asked for by their last part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from schemas import metrics
from schemas.events import PlatformRaw, RawKind
from services.platforms import _google, abilities, base, http_reading, json_reading, report_days
from services.platforms._oauth import oauth_call, read_oauth

TOKEN_URL = "https://oauth2.googleapis.com"
IDENTITY_URL = "https://mybusinessbusinessinformation.googleapis.com"
# Days asked for: 28 reported days, and the days that are not reported yet.
REPORT_DAYS = 36
_DAY = 86_400_000

_IMPRESSIONS = (
    "BUSINESS_IMPRESSIONS_DESKTOP_MAPS",
    "BUSINESS_IMPRESSIONS_DESKTOP_SEARCH",
    "BUSINESS_IMPRESSIONS_MOBILE_MAPS",
    "BUSINESS_IMPRESSIONS_MOBILE_SEARCH",
)
_KEPT_RAW = ("WEBSITE_CLICKS", "CALL_CLICKS", "BUSINESS_DIRECTION_REQUESTS")

_OUTCOME_OF_REASON = {
    "ACCESS_TOKEN_EXPIRED": base.Outcome.TOKEN_EXPIRED,
    "UNAUTHENTICATED": base.Outcome.TOKEN_EXPIRED,
    "authError": base.Outcome.TOKEN_EXPIRED,
    "invalid_grant": base.Outcome.TOKEN_REVOKED,
    "RATE_LIMIT_EXCEEDED": base.Outcome.RETRY_LATER,
    "RESOURCE_EXHAUSTED": base.Outcome.RETRY_LATER,
    "dailyLimitExceeded": base.Outcome.QUOTA_EXHAUSTED,
    "quotaExceeded": base.Outcome.QUOTA_EXHAUSTED,
    "SERVICE_DISABLED": base.Outcome.PERMISSION_MISSING,
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": base.Outcome.PERMISSION_MISSING,
    "PERMISSION_DENIED": base.Outcome.PERMISSION_MISSING,
    "forbidden": base.Outcome.PERMISSION_MISSING,
    "NOT_FOUND": base.Outcome.TARGET_GONE,
    "notFound": base.Outcome.TARGET_GONE,
    "INVALID_ARGUMENT": base.Outcome.REQUEST_WRONG,
    "badRequest": base.Outcome.REQUEST_WRONG,
}
# `Invalid value at 'daily_metrics' (type.googleapis.com/...DailyMetric), "NAME"`
_REFUSED = re.compile(r"daily_?metrics?\b[^\"]*\"(\w+)\"", re.IGNORECASE)
_SERIES = ("fetchMultiDailyMetricsTimeSeries", "getDailyMetricsTimeSeries")


def _day(value: Any) -> int:
    """The instant (ms) at which a `{"year", "month", "day"}` begins.

    Raises:
        MappingError: `unexpected_shape`.
    """
    parts = json_reading.block(value, "date") or {}
    try:
        day = date(parts["year"], parts["month"], parts["day"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise base.MappingError("unexpected_shape", "a date is no whole date") from None
    at = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
    if not report_days.EARLIEST < at < report_days.LATEST - 2 * _DAY:
        raise base.MappingError("unexpected_shape", "a date is no date of a report")
    return at


def _series(answer: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each series with the name of its metric.

    Raises:
        MappingError: `unexpected_shape`.
    """
    for group in json_reading.objects(answer.get("multiDailyMetricTimeSeries") or [], "multiDailyMetricTimeSeries"):
        nested = group.get("dailyMetricTimeSeries")
        if nested is None:
            nested = [group]
        elif isinstance(nested, dict):
            nested = [nested]
        for series in json_reading.objects(nested, "dailyMetricTimeSeries"):
            # A series of a part of the day or of the week is not the day's.
            if not series.get("dailySubEntityType"):
                yield json_reading.text(series.get("dailyMetric")), series.get("timeSeries")


def _points(series: Any, name: str) -> dict[int, int | None]:
    """A series' value by day."""
    answered = json_reading.block(series, "timeSeries") or {}
    found: dict[int, int | None] = {}
    for point in json_reading.objects(answered.get("datedValues") or [], "datedValues"):
        found[_day(point.get("date"))] = json_reading.count(point["value"], name) if "value" in point else 0
    return found


def _location(external_id: str) -> str:
    return http_reading.path_part(external_id.strip("/").rpartition("/")[2])


def _method(path: tuple[str, ...]) -> str | None:
    """The method of `/locations/{id}:method`, "" for the location itself, None for any other path."""
    if path[:1] == ("accounts",) and len(path) == 4:
        path = path[2:]
    match path:
        case ("locations", name):
            return name.partition(":")[2]
    return None


class GoogleBusiness:
    """Google Business Profile: pure reading and describing, see the module's header."""

    facts = base.Facts(
        name="google_business",
        base_url="https://businessprofileperformance.googleapis.com",
        documentation="https://developers.google.com/my-business/reference/performance/rest/v1/locations",
        read_on="2026-11-30",
        auth="Google OAuth 2.0 user token (Bearer) with business.manage",
        rate_limit="300 requests a minute a project",
        post_batch_size=1,
        post_group="performance",
        limits=(base.Limit("performance", 300, 60),),
        report_days=REPORT_DAYS,
        channel_metrics={"impressions": ("day",)},
        channel_conditions={"impressions": "of verified locations, with business.manage and access granted by Google"},
        channel_lag="several days",
        not_reported=dict.fromkeys(metrics.POST_NAMES, "Google retired the figures of local posts"),
        remedies=(
            base.Remedy(
                base.Outcome.PERMISSION_MISSING,
                "scope business.manage, access granted by Google's form, the API enabled, and a verified location",
            ),
        ),
    )

    def authorize(self, token: str | None) -> dict[str, str]:
        """The user's token in a bearer header; no header without a token."""
        return {"authorization": f"Bearer {token}"} if token else {}

    def post_calls(
        self, channel: base.Channel, targets: Sequence[base.Target], now: int | None = None
    ) -> list[base.Call]:
        """None: there are no figures of posts."""
        return []

    def channel_calls(self, channel: base.Channel, now: int) -> list[base.Call]:
        """The location's last reported days."""
        last = datetime.fromtimestamp(now // 1000, UTC).date()
        first = last - timedelta(days=REPORT_DAYS)
        query = [("dailyMetrics", name) for name in (*_IMPRESSIONS, *_KEPT_RAW)]
        for name, day in (("start_date", first), ("end_date", last)):
            query += [
                (f"dailyRange.{name}.year", str(day.year)),
                (f"dailyRange.{name}.month", str(day.month)),
                (f"dailyRange.{name}.day", str(day.day)),
            ]
        path = f"/v1/locations/{_location(channel.external_id)}:fetchMultiDailyMetricsTimeSeries"
        return [
            base.Call(
                RawKind.CHANNEL_METRICS, "GET", path, tuple(query), limit_group="performance", shape="channel/days"
            )
        ]

    def identity_call(self, channel: base.Channel) -> base.Call:
        """The location's name, from the Business Information API."""
        path = f"/v1/locations/{_location(channel.external_id)}"
        query = (("readMask", "name,title"),)
        return base.Call(
            RawKind.IDENTITY, "GET", path, query, limit_group="information", base_url=IDENTITY_URL, shape="identity"
        )

    def refresh_call(self, tokens: abilities.HeldTokens, client: abilities.AppClient) -> abilities.RefreshCall | None:
        """Google's token endpoint; the refresh token stays."""
        return oauth_call("/token", tokens, client, base_url=TOKEN_URL)

    def read_refresh(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> abilities.TokenGrant | abilities.RefreshFailure:
        """Reads the answer by the common rules of OAuth 2."""
        return read_oauth(status, headers, body)

    def read(self, event: PlatformRaw) -> base.Reading:
        """`:fetchMultiDailyMetricsTimeSeries` and `:getDailyMetricsTimeSeries` of a location."""
        if not http_reading.succeeded(event):
            return base.NOTHING
        method = _method(http_reading.path_segments(event.endpoint))
        known = event.kind == RawKind.CHANNEL_METRICS and method in _SERIES
        if not known and not (event.kind == RawKind.IDENTITY and method == ""):
            raise base.MappingError("unknown_endpoint", f"Google has no {event.kind} at {event.endpoint[:200]!r}")
        answer = json_reading.json_object(event.body)
        if "error" in answer or event.kind == RawKind.IDENTITY:
            return base.NOTHING
        kinds: dict[str, dict[int, int | None]] = {}
        for name, series in _series(answer):
            if name in _IMPRESSIONS:
                kinds.setdefault(name, {}).update(_points(series, name))
        return base.Reading((), tuple(self._days([points for points in kinds.values() if points])))

    def _days(self, kinds: Sequence[Mapping[int, int | None]]) -> Iterator[base.ChannelReading]:
        for start in sorted(set().union(*kinds)) if kinds else ():
            if all(start in points for points in kinds):
                told = [value for points in kinds if (value := points[start]) is not None]
                values = list(metrics.NO_CHANNEL_VALUES)
                if len(told) == len(kinds):
                    values[metrics.CH_IMPRESSIONS] = json_reading.count(sum(told), "impressions")
                yield base.ChannelReading(
                    "day", start, start + _DAY, json_reading.bits(metrics.CH_IMPRESSIONS), tuple(values)
                )

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """Nothing: answers are about the location."""
        return {}

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> base.Verdict:
        """The reason in the details, else Google's status; a limit of 0 is a missing grant, whatever the reason."""
        error = _google.read_error(body)
        if 200 <= status < 300 and error is None:
            # A location without figures answers {}.
            if json_reading.is_object(body):
                return base.Verdict(base.Outcome.OK)
            return base.Verdict(base.Outcome.PLATFORM_DOWN, detail=f"{status} no JSON")
        verdict = _google.classify(status, headers, body, now, _OUTCOME_OF_REASON)
        if verdict.outcome is base.Outcome.REQUEST_WRONG and error is not None and status == 400:
            refused = _REFUSED.search(error.message)
            return replace(verdict, refused_metric=refused[1] if refused else "")
        return verdict

    def limits(self, headers: Mapping[str, str], now: int) -> base.LimitState | None:
        """Google sends no headers about the quota."""
        return None


PLATFORM = GoogleBusiness()
