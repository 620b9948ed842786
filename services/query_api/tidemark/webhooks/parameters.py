"""The parameters of the endpoints of webhooks. Pure."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from schemas.metrics import INT64_MAX, POST_NAMES
from schemas.notices import NoticeType
from services.query_api.serving.parameters import Id, Instant, Limit, Parameters

METRICS = (*POST_NAMES, "engagements")
DEFAULT_LIMIT = 50


def _type(name: str) -> str:
    if name not in set(NoticeType):
        raise ValueError(f"must be one of {', '.join(NoticeType)}")
    return name


MetricName = Literal[METRICS]  # type: ignore[valid-type]  # the columns have one definition, `schemas.metrics`
TypeName = Annotated[str, AfterValidator(_type), Field(json_schema_extra={"enum": [kind.value for kind in NoticeType]})]


def _once(types: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(types)) != len(types):
        raise ValueError("each type once")
    return types


Url = Annotated[str, Field(min_length=1, max_length=2_048, json_schema_extra={"format": "uri"})]
Description = Annotated[str, Field(max_length=500)]
Types = Annotated[tuple[TypeName, ...], Field(min_length=1, max_length=len(NoticeType)), AfterValidator(_once)]


class _WithoutNull:
    """Describes a field as if it took no null."""

    @staticmethod
    def __get_pydantic_json_schema__(schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler(schema)
        named = [part for part in described.get("anyOf", ()) if part != {"type": "null"}]
        return named[0] if len(named) == 1 else described


Named = TypeVar("Named")

Left = Annotated[Named | None, _WithoutNull]
"""A field that may be left out; the description does not offer null, which reads the same. No union with a type of its
own for null: refusals would name the parts of that union, which callers never wrote."""


class RuleShape(Parameters):
    """A post is told of once its metric is at least this figure."""

    metric: MetricName = Field(description="A common metric of posts, summed over the post's channels.")
    at_least: Annotated[int, Field(strict=True, ge=1, le=INT64_MAX)] = Field(description="The figure.")


Rules = Annotated[tuple[RuleShape, ...], Field(max_length=20)]


class WebhookNew(Parameters):
    """The body that makes a webhook."""

    url: Url = Field(description="An https address that the internet reaches.")
    types: Types = Field(description="What is delivered.")
    rules: Rules = Field((), description="For post.threshold: when a post is told of.")
    description: Description = Field("", description="Your own words.")


class WebhookChange(Parameters):
    """The body that changes a webhook; what is left out stays."""

    url: Left[Url] = Field(None, description="An https address that the internet reaches.")
    types: Left[Types] = Field(None, description="What is delivered.")
    rules: Left[Rules] = Field(None, description="For post.threshold: when a post is told of.")
    description: Left[Description] = Field(None, description="Your own words.")
    status: Left[Literal["active", "disabled"]] = Field(
        None, description="`disabled` stops deliveries; `active` begins them again, also after a shutdown."
    )


class DeliveriesParameters(Parameters):
    """A page of the log."""

    status: Literal["pending", "delivered", "failed"] | None = Field(
        None, description="Only deliveries of this status."
    )
    limit: Limit = Field(DEFAULT_LIMIT, description="The most rows of a page.")
    cursor: str | None = Field(None, max_length=512, description="`next_cursor` of the page before.")


class Redelivery(Parameters):
    """What to deliver once more: one delivery, or all since an instant."""

    delivery_id: Id | None = Field(None, description="A delivery of the log.")
    since: Instant | None = Field(None, description="All finished deliveries that were made at or after this time.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.delivery_id is None) == (self.since is None):
            raise ValueError("give delivery_id or since, one of them")
        return self
