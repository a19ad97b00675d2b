"""Types of the intake's responses: the routes are checked against them, and the OpenAPI document is built from them."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict


class FieldError(TypedDict):
    """One thing that is wrong with an event or a request."""

    field: Annotated[str, Field(examples=["item"])]
    message: Annotated[str, Field(examples=["is required"])]


class EventVerdict(TypedDict):
    """The result of one event."""

    index: Annotated[int, Field(ge=0, description="its position in the request, from 0")]
    event_id: NotRequired[Annotated[str, Field(description="absent if it could not be read")]]
    status: Annotated[
        Literal["accepted", "refused", "unavailable"],
        Field(description="unavailable: not acknowledged by the broker; send it again with the same event_id"),
    ]
    partition: NotRequired[Annotated[int, Field(description="Kafka partition of an accepted event")]]
    offset: NotRequired[Annotated[int, Field(description="Kafka offset of an accepted event")]]
    errors: NotRequired[Annotated[list[FieldError], Field(description="why it was refused")]]


class Verdicts(TypedDict):
    """The results of the events of a request."""

    accepted: Annotated[int, Field(ge=0)]
    refused: Annotated[int, Field(ge=0)]
    events: list[EventVerdict]


class Problem(TypedDict):
    """An error (RFC 9457). If the events of the request were checked, it also contains their results."""

    type: Literal["about:blank"]
    title: Annotated[str, Field(examples=["Bad Request"])]
    status: Annotated[int, Field(examples=[400])]
    detail: str
    request_id: Annotated[str, Field(description="identifies the request in the intake's log")]
    errors: NotRequired[list[FieldError]]
    accepted: NotRequired[Annotated[int, Field(ge=0)]]
    refused: NotRequired[Annotated[int, Field(ge=0)]]
    events: NotRequired[list[EventVerdict]]
