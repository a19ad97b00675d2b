"""The intake's contract for machines and people: ``/openapi.json`` (OpenAPI 3.1) and ``/docs``.

Both are built from the models that the routes use. The page is Swagger UI from its wheel: it requests nothing from the
outside network.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

from flask import Blueprint, Flask, Response
from flask_swagger_ui import get_swaggerui_blueprint
from pydantic import TypeAdapter

from daybook.contract import EXAMPLES, event_schema
from daybook.settings import Settings
from game_api.problems import RETRY_AFTER_SECONDS
from game_api.responses import Problem, Verdicts
from game_api.validation import MAX_BODY_BYTES, MAX_EVENTS_PER_REQUEST

TITLE = "Daybook's intake"

_REQUEST_ID = {
    "X-Request-Id": {"description": "identifies the request in the intake's log", "schema": {"type": "string"}}
}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "seconds to wait before sending the same events again",
        "schema": {"type": "integer", "minimum": RETRY_AFTER_SECONDS},
    }
}
_FOREIGN_PAGE = {403: "the request comes from a web page of another site, and no API key is required"}
_INTRODUCTION = f"""
A 2xx answer means that Kafka has acknowledged the event. No other answer means acceptance.

**Retry** a 429, a 503, a broken connection or a time-out with the same `event_id`s, after `Retry-After` seconds and
with increasing pauses: an event counts once however often it is sent. Any other 4xx is refused again if repeated.

**Limits**: a body of {MAX_BODY_BYTES:,} bytes, also when unpacked; {MAX_EVENTS_PER_REQUEST:,} events in a request.
"""


def document(settings: Settings) -> dict[str, Any]:
    """The OpenAPI document of an intake with these settings."""
    _, definitions = TypeAdapter.json_schemas(
        [("verdicts", "serialization", TypeAdapter(Verdicts)), ("problem", "serialization", TypeAdapter(Problem))],
        ref_template="#/components/schemas/{model}",
    )
    event = event_schema(settings.items, ref_template="#/components/schemas/{model}")
    paths: dict[str, Any] = {"/events": {"post": _post_events(settings)}, **_watching(settings)}
    if settings.serves_legacy_routes:
        paths |= _routes_of_2019(settings)
    components: dict[str, Any] = {
        "schemas": {**definitions["$defs"], **event.pop("$defs"), "Event": event},
    }
    if settings.api_keys_file:
        components["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer", "description": "the game's API key"}
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": metadata.version("daybook"),
            "description": _INTRODUCTION.strip(),
        },
        "paths": paths,
        "components": components,
    }


def init_app(app: Flask, settings: Settings) -> None:
    """Serve the document and its page."""
    served = document(settings)
    blueprint = Blueprint("openapi", __name__)

    @blueprint.get("/openapi.json")
    def show() -> dict[str, Any]:
        return served

    @blueprint.get("/")
    def home() -> Response:
        return docs()

    @blueprint.get("/docs")
    def docs() -> Response:
        # relative: the Host header is data here, not an address to redirect to
        return Response(status=302, headers={"Location": "docs/"})

    app.register_blueprint(blueprint)
    app.register_blueprint(
        get_swaggerui_blueprint(
            "/docs",
            "../openapi.json",
            # no request to a validator on the internet; no bar for loading other documents
            config={"app_name": TITLE, "validatorUrl": None, "oauth2RedirectUrl": "", "layout": "BaseLayout"},
        )
    )


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _post_events(settings: Settings) -> dict[str, Any]:
    event = _ref("Event")
    batch = {"type": "array", "items": event, "minItems": 1, "maxItems": MAX_EVENTS_PER_REQUEST}
    # without an id and a time: with them, every try would be the same event, on a day that is long over
    values = [{name: one[name] for name in one if name not in {"event_id", "occurred_at"}} for one in EXAMPLES.values()]
    examples: dict[str, Any] = {
        name: {"summary": f"one {name}; each try is a new event", "value": value}
        for name, value in zip(EXAMPLES, values, strict=True)
    }
    examples["batch"] = {"summary": "several events", "value": values}
    return {
        "summary": "Send one event, or up to 1,000",
        "operationId": "post_events",
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "the event_id for a single event without one",
                "schema": {"type": "string", "format": "uuid"},
            },
            {
                "name": "Content-Encoding",
                "in": "header",
                "schema": {"type": "string", "enum": ["gzip", "identity"], "default": "identity"},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"anyOf": [event, batch]}, "examples": examples},
                "application/x-ndjson": {"schema": {"type": "string", "description": "one event a line, as JSON"}},
            },
        },
        "responses": {
            "201": _json("every event is accepted", _ref("Verdicts")),
            "207": _json(
                "some events are accepted, the others refused; do not repeat the accepted ones", _ref("Verdicts")
            ),
            **_problems(
                {
                    400: "no event is valid, or the body, the Host or the Idempotency-Key cannot be read",
                    408: "the body did not arrive completely within 5 seconds",
                    413: f"over {MAX_BODY_BYTES:,} bytes or {MAX_EVENTS_PER_REQUEST:,} events",
                    415: "not JSON or NDJSON in UTF-8, or compressed with anything but gzip",
                    503: "the broker did not acknowledge every valid event; send them again with the same event_id",
                    **({429: "over the game's events per second"} if settings.api_events_per_second else {}),
                    **({401: "no API key, or an unknown one"} if settings.api_keys_file else _FOREIGN_PAGE),
                }
            ),
        },
        **_security(settings),
    }


def _watching(settings: Settings) -> dict[str, Any]:
    status = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}
    unauthorized = {401: "no API key, or an unknown one"} if settings.api_keys_file else {}
    return {
        "/health/live": {
            "get": {"summary": "Whether the process answers", "responses": {"200": _json("it does", status)}}
        },
        "/health/ready": {
            "get": {
                "summary": "Whether the broker answers for the topic",
                "responses": {
                    "200": _json("it does", status),
                    **_problems({503: "the broker or its topic does not answer"}),
                },
            }
        },
        "/metrics": {
            "get": {
                "summary": "Counts and latencies, for Prometheus",
                "responses": {
                    "200": _text("the text format of Prometheus"),
                    **_problems(
                        {**unauthorized, 503: "there are no metrics: the disk was full when the intake started"}
                    ),
                },
                **_security(settings),
            }
        },
    }


def _routes_of_2019(settings: Settings) -> dict[str, Any]:
    answers = {
        "200": _text("the event is accepted"),
        "400": _text("the Host header is not a host name, or the Idempotency-Key is not a UUID"),
        "503": {**_text("the broker did not acknowledge it"), "headers": {**_REQUEST_ID, **_RETRY_AFTER}},
    }
    answers |= _problems(_FOREIGN_PAGE)
    if settings.api_events_per_second:
        answers |= _problems({429: "over the events per second"})
    item = {"name": "item", "in": "path", "required": True, "schema": {"enum": list(settings.items)}}
    key = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "format": "uuid"}}
    purchase = {"parameters": [item, key], "responses": {**answers, "404": _text("no such item")}}
    old = {"deprecated": True, "description": "Retained for the clients of 2019; new clients send `POST /events`."}
    join = {"parameters": [key], "responses": answers}
    return {
        "/purchase/{item}": {
            method: {"summary": "Buy an item (2019); the player is in the Host header", **old, **purchase}
            for method in ("get", "post")
        },
        "/join_a_guild": {
            method: {"summary": "Join a guild (2019); the player is in the Host header", **old, **join}
            for method in ("get", "post")
        },
    }


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "headers": _REQUEST_ID, "content": {"application/json": {"schema": schema}}}


def _text(description: str) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {"description": description, "headers": _REQUEST_ID, "content": content}


def _problems(meanings: dict[int, str]) -> dict[str, Any]:
    return {
        str(status): {
            "description": meaning,
            "headers": {**_REQUEST_ID, **(_RETRY_AFTER if status in {429, 503} else {})},
            "content": {"application/problem+json": {"schema": _ref("Problem")}},
        }
        for status, meaning in sorted(meanings.items())
    }


def _security(settings: Settings) -> dict[str, Any]:
    return {"security": [{"key": []}]} if settings.api_keys_file else {}
