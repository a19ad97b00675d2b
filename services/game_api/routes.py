"""The intake's routes: parse and answer, nothing else."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Flask, Response, g, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected, MethodNotAllowed, RequestEntityTooLarge

from daybook.contract import AnyEvent, clean_host, complete, encode
from daybook.settings import Settings
from game_api import hosts, metrics
from game_api.limits import EventLimit, sender
from game_api.problems import RETRY_AFTER_SECONDS, json_text, problem
from game_api.producer import EventProducer, Receipt
from game_api.responses import EventVerdict, FieldError, Verdicts
from game_api.validation import (
    MAX_BODY_BYTES,
    BadBody,
    Refused,
    check_event,
    check_host,
    check_key,
    is_packed,
    parse_body,
    parse_lines,
    unpack,
)
from game_api.worker import end_unread


def init_app(app: Flask, settings: Settings, producer: EventProducer, limit: EventLimit) -> None:
    """Register the routes that the settings ask for."""
    # one byte more than is accepted: Flask silently truncates a body without a length at its limit
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES + 1
    app.url_map.merge_slashes = False  # one path for one thing: //events is not /events
    app.json.sort_keys = False  # type: ignore[attr-defined]  # answers read in the order they are written
    app.register_blueprint(_health(producer))
    app.register_blueprint(_events(settings, producer, limit))
    if settings.serves_legacy_routes:
        app.register_blueprint(_routes_of_2019(settings, producer, limit))

    @app.after_request
    def end_unread_request(response: Response) -> Response:
        end_unread(request.environ, in_time=response.status_code != HTTPStatus.REQUEST_TIMEOUT)
        return response


def _health(producer: EventProducer) -> Blueprint:
    health = Blueprint("health", __name__, url_prefix="/health")

    @health.get("/live")
    def live() -> dict[str, str]:
        return {"status": "live"}

    @health.get("/ready")
    def ready() -> dict[str, str] | Response:
        if producer.is_ready():
            return {"status": "ready"}
        return problem(503, "the broker or its topic does not answer")

    return health


def _events(settings: Settings, producer: EventProducer, limit: EventLimit) -> Blueprint:
    events = Blueprint("events", __name__)

    @events.post("/events")
    def post_events() -> Response:
        limit.check(sender())  # before the body is read
        try:
            key = _key()
            values = _with_key(_values(), key)
        except BadBody as bad:
            errors = [FieldError(field=bad.field, message=bad.detail)]
            return problem(bad.status, f"{bad.field} {bad.detail}", errors=errors)
        limit.spend(sender(), len(values))
        checked = [_checked(value, settings) for value in values]
        receipts = iter(_produce(producer, [event for event in checked if not isinstance(event, Refused)]))
        outcomes = [(event, None if isinstance(event, Refused) else next(receipts)) for event in checked]
        verdicts = [_verdict(index, *outcome) for index, outcome in enumerate(outcomes)]
        for value, verdict in zip(values, verdicts, strict=True):
            metrics.count_event(value.get("event_type") if isinstance(value, dict) else None, verdict["status"])
        return _answer(verdicts)

    return events


def _checked(value: Any, settings: Settings) -> AnyEvent | Refused:
    if isinstance(value, Refused):
        return value
    try:
        return _check(value, settings)
    except Refused as refused:
        return refused


def _check(value: Any, settings: Settings) -> AnyEvent:
    latest = datetime.now(UTC) + timedelta(minutes=settings.future_tolerance_minutes)
    return check_event(value, items=settings.items, latest=latest)


def _verdict(index: int, event: AnyEvent | Refused, receipt: Receipt | None) -> EventVerdict:
    if isinstance(event, Refused):
        refused = EventVerdict(index=index, status="refused", errors=event.errors)
        return refused if event.event_id is None else {"event_id": event.event_id, **refused}
    event_id = str(event.event_id)
    if receipt is None:
        return EventVerdict(index=index, event_id=event_id, status="unavailable")
    return EventVerdict(
        index=index, event_id=event_id, status="accepted", partition=receipt.partition, offset=receipt.offset
    )


def _answer(verdicts: list[EventVerdict]) -> Response:
    """Return the result of each event; the status is the result of the whole request."""
    count = Counter(verdict["status"] for verdict in verdicts)
    body = Verdicts(accepted=count["accepted"], refused=count["refused"], events=verdicts)
    g.verdicts = dict(count)
    if count["unavailable"]:
        return problem(
            503, "not every event was acknowledged by the broker; send them again with the same event_id", **body
        )
    if not count["accepted"]:
        return problem(400, "no event is valid; see errors", **body)
    return Response(
        json_text(body),
        status=HTTPStatus.MULTI_STATUS if count["refused"] else HTTPStatus.CREATED,
        mimetype="application/json",
    )


def _routes_of_2019(settings: Settings, producer: EventProducer, limit: EventLimit) -> Blueprint:
    """The course project's routes, as ApacheBench drives them: no body, the player in the Host header, a line back."""
    routes = Blueprint("routes_of_2019", __name__)

    @routes.route("/purchase/<item>", methods=["GET", "POST"])
    def purchase(item: str) -> Response:
        if item not in settings.items:
            return _line(f"No such item; the items are {', '.join(settings.items)}.", 404)
        return take({"event_type": "purchase_item", "item": item}, f"{item.capitalize()} purchased!")

    @routes.route("/join_a_guild", methods=["GET", "POST"])
    def join_a_guild() -> Response:
        return take({"event_type": "join_guild"}, "Guild joined!")

    def take(value: dict[str, Any], done: str) -> Response:
        if request.method == "HEAD":  # Flask adds it to every GET, and looking must not buy
            raise MethodNotAllowed(["GET", "POST"])
        try:
            check_host(hosts.raw_host())
            [value] = _with_key([value], _key())
            event = _check(value, settings)
        except BadBody as bad:
            return _line(f"{bad.field} {bad.detail}.", bad.status)
        except Refused as refused:
            return _line("; ".join(f"{error['field']} {error['message']}" for error in refused.errors) + ".", 400)
        limit.spend(sender(), 1)
        [receipt] = _produce(producer, [event])
        metrics.count_event(event.event_type, "unavailable" if receipt is None else "accepted")
        if receipt is None:
            return _line("Not accepted: the broker does not answer. Try again.", 503)
        return _line(done, 200)

    return routes


def _line(text: str, status: int) -> Response:
    response = Response(text + "\n", status=status, mimetype="text/plain")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _produce(producer: EventProducer, events: list[AnyEvent]) -> list[Receipt | None]:
    """Complete the events with values from the request and hand them to Kafka."""
    if not events:
        return []
    received_at = datetime.now(UTC)
    request_host = clean_host(hosts.raw_host())
    user_agent = hosts.as_utf8(request.environ.get("HTTP_USER_AGENT"), errors="replace")
    records = []
    for number, event in enumerate(events):
        # a microsecond apart: events without a time happened in the order in which they were sent
        moment = received_at + timedelta(microseconds=number)
        record = complete(event, received_at=moment, request_host=request_host, user_agent=user_agent)
        records.append((record["user_id"].encode(), encode(record)))
    return producer.send(records)


def _values() -> list[Any]:
    """The request's events as decoded JSON; an unreadable line of many is :class:`Refused`.

    Raises:
        BadBody: no event of the request can be accepted.
    """
    check_host(hosts.raw_host())
    is_lines = request.mimetype == "application/x-ndjson"
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if not (is_lines or request.mimetype == "application/json") or charset not in {"utf-8", "utf8"}:
        raise BadBody("must be application/json or application/x-ndjson in UTF-8", field="Content-Type", status=415)
    packed = is_packed(request.headers.get("Content-Encoding", ""))
    raw = unpack(_body()) if packed else _body()
    return parse_lines(raw) if is_lines else parse_body(raw)


def _body() -> bytes:
    """The request's body as it came.

    Raises:
        BadBody: it is too large, or the client stopped sending before its end.
    """
    late = BadBody("did not arrive completely in time; no event was accepted", status=408)
    too_large = BadBody(f"is over {MAX_BODY_BYTES} bytes; send fewer events at once", status=413)
    try:
        raw = request.get_data(cache=False)
    except RequestEntityTooLarge:
        raise too_large from None
    except (ClientDisconnected, OSError):
        raise late from None
    except ParseException:  # gunicorn's error for invalid chunks
        raise BadBody("does not match its Transfer-Encoding", status=400) from None
    if len(raw) > MAX_BODY_BYTES:
        raise too_large
    if request.content_length is not None and len(raw) < request.content_length:
        raise late  # the worker has stopped listening to this client
    return raw


def _key() -> str | None:
    """The request's Idempotency-Key, if it has one.

    Raises:
        BadBody: it is not a UUID.
    """
    raw = request.headers.get("Idempotency-Key")
    return None if raw is None else check_key(raw)


def _with_key(values: list[Any], key: str | None) -> list[Any]:
    """Give a single event without an id the request's Idempotency-Key.

    Raises:
        BadBody: the key contradicts the event's own id, or there are several events.
    """
    if key is None:
        return values
    if len(values) != 1:
        raise BadBody("is for a single event; in an array, give each event its own event_id", field="Idempotency-Key")
    [value] = values
    if isinstance(value, dict) and str(value.setdefault("event_id", key)).lower() != key:
        raise BadBody("differs from the event's event_id", field="Idempotency-Key")
    return [value]
