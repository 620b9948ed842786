"""Bodies of the admin API; unknown fields, wrong types and unknown values are refused, with the field's name."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from schemas.events import ChannelStatus, PostStatus
from schemas.ids import WHOLE_ID_PATTERN
from services.platforms import all_platforms
from services.query_api.serving.auth import PREFIXES
from services.runtime.instants import parse_timestamp


def _timestamp(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError("must be an RFC 3339 time with an offset")
    return parse_timestamp(value)


def _timestamp_text(value: str) -> str:
    parse_timestamp(value)
    return value


def _number(value: Any) -> Any:
    # Otherwise a larger integer would become the nearest float.
    if isinstance(value, int) and not _INT64_MIN <= value <= _INT64_MAX:
        raise ValueError("must be a number of at most 64 bits")
    return value


def _known_platform(value: str) -> str:
    if value not in all_platforms():
        raise ValueError(f"must be one of {', '.join(all_platforms())}")
    return value


_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
Int64 = Annotated[int, Field(ge=_INT64_MIN, le=_INT64_MAX)]
Number = Annotated[Int64 | Annotated[float, Field(allow_inf_nan=False)], BeforeValidator(_number)]
"""A number that every reader of JSON can hold: an integer of 64 bits or a finite float."""
Id = Annotated[str, StringConstraints(pattern=WHOLE_ID_PATTERN)]
Timestamp = Annotated[
    int, BeforeValidator(_timestamp), WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation")
]
"""An instant, ms."""
TimestampText = Annotated[str, AfterValidator(_timestamp_text)]
"""An instant that is stored as the text that the caller sent."""
ShortText = Annotated[str, StringConstraints(max_length=1_024)]
OptionalText = Annotated[ShortText, BeforeValidator(lambda value: "" if value is None else value)]
"""A text that is empty while there is none; callers may also send null."""
LongText = Annotated[str, StringConstraints(max_length=200_000)]
Token = Annotated[SecretStr, Field(max_length=16_384)]
PlatformName = Annotated[
    str,
    AfterValidator(_known_platform),
    Field(json_schema_extra=lambda schema: schema.update(enum=list(all_platforms()))),
]
Scope = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.-]{1,64}(:[a-z0-9_.*-]{1,64})?$")]
Style = Literal["postme", "powerpost", "postfuze", "postflow", "openpost", "tidemark"]


class Strict(BaseModel):
    """Base of the bodies: allows no unknown fields and no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class ChannelPut(Strict):
    """The body that creates or replaces a connected account."""

    platform: PlatformName
    external_id: Annotated[str, StringConstraints(min_length=1, max_length=1_024)]
    username: OptionalText = ""
    access_token: Token | None = None
    refresh_token: Token | None = None
    token_expires_at: Timestamp | None = None
    status: ChannelStatus = ChannelStatus.ACTIVE
    discover: bool = False


class RedriveRequest(Strict):
    """The body that sends the messages of dead letters again."""

    reasons: Annotated[list[ShortText], Field(min_length=1, max_length=100, description="Letters of these reasons.")]
    workspace_id: Annotated[Id | None, Field(description="Only letters of this workspace.")] = None
    is_dry: Annotated[bool, Field(description="Only count the messages.")] = False


class LinkPreview(Strict):
    """The preview that is shown of a link in a post."""

    url: ShortText | None = None
    host: ShortText | None = None
    title: LongText | None = None
    description: LongText | None = None
    image_url: ShortText | None = None


class FirstComment(Strict):
    """The comment that the product publishes right after a post."""

    id: ShortText | None = None
    condition_type: Int64 | None = None
    condition_value: Number | None = None
    publishing_failed: bool | None = None
    user_error_message: LongText | None = None
    published_at: TimestampText | None = None
    created_at: TimestampText | None = None


class TargetDetail(Strict):
    """Further fields of a target, in the shapes of PostFlow's API."""

    enabled: bool = True
    is_customized: bool = False
    user_error_message: LongText | None = None
    link_preview: LinkPreview | None = None
    first_comment: FirstComment | None = None
    poll_results: Annotated[list[LongText], Field(max_length=100)] | None = None


class TargetPut(Strict):
    """One target: a post on one channel."""

    target_id: Id
    channel_id: Id
    post_type: OptionalText = ""
    status: PostStatus
    external_id: OptionalText = ""
    permalink: Annotated[str, StringConstraints(max_length=8_192)] | None = None
    published_at: Timestamp | None = None
    content: LongText | None = None
    is_story: bool = False
    parent_target_id: Id | None = None
    detail: TargetDetail = TargetDetail()


class PostPut(Strict):
    """The body that creates or replaces a post with all of its targets."""

    status: PostStatus
    created_at: Timestamp | None = None
    published_at: Timestamp | None = None
    targets: Annotated[list[TargetPut], Field(max_length=500)] = []

    @model_validator(mode="after")
    def _targets_fit_together(self) -> Self:
        parents = {target.target_id: target.parent_target_id for target in self.targets}
        if len(parents) != len(self.targets):
            raise ValueError("targets: a target_id occurs twice")
        for target_id, parent in parents.items():
            if parent is None:
                continue
            if parent not in parents:
                raise ValueError("targets: a parent_target_id is not a target of this post")
            if parent == target_id or parents[parent] is not None:
                raise ValueError("targets: a parent_target_id names a target that has a parent itself")
        return self


class KeyRequest(Strict):
    """The body of a request for a new API key."""

    scopes: Annotated[list[Scope], Field(max_length=32)]
    style: Style = "tidemark"

    @field_validator("scopes")
    @classmethod
    def _once_each(cls, scopes: list[str]) -> list[str]:
        if len(set(scopes)) != len(scopes):
            raise ValueError("a scope occurs twice")
        return scopes


class ChannelLine(ChannelPut):
    """A line of a bulk write that holds a channel."""

    type: Literal["channel"]
    workspace_id: Id
    id: Id


class PostLine(PostPut):
    """A line of a bulk write that holds a post."""

    type: Literal["post"]
    workspace_id: Id
    id: Id


CatalogLine: TypeAdapter[ChannelLine | PostLine] = TypeAdapter(
    Annotated[ChannelLine | PostLine, Field(discriminator="type")]
)

assert set(PREFIXES) == set(get_args(Style))
