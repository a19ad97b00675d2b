"""The intake's routes: parse and answer, nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
from flask import Blueprint, Flask, Response, json, request
from werkzeug.exceptions import MethodNotAllowed, RequestEntityTooLarge

from daybook.contract import JoinGuild, PurchaseItem, clean_host, complete, encode
from daybook.settings import Settings
from game_api.problems import RETRY_AFTER_SECONDS, problem
from game_api.producer import EventProducer, Receipt
from game_api.validation import MAX_BODY_BYTES, BadBody, FieldError, Refused, check_event, check_key, parse_body

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

RAW_HOST = "daybook.raw_host"
"""WSGI key of the Host header as it came."""

_log = structlog.get_logger(__name__)


class HostIsData:
    """Takes the Host header out of Flask's sight: here it names the player's provider, it does not route.

    Flask answers 404 to a Host that cannot be a server's name; whether it is a player's host is the contract's say.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        environ[RAW_HOST] = environ.get("HTTP_HOST", "")
        environ["HTTP_HOST"] = "localhost"
        return self._application(environ, start_response)


def init_app(app: Flask, settings: Settings, producer: EventProducer) -> None:
    """Register the routes that the settings ask for."""
    # one more than is taken: of a body without a length Flask silently cuts off what is over its limit
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES + 1
    app.json.sort_keys = False  # type: ignore[attr-defined]  # answers read in the order they are written
    app.wsgi_app = HostIsData(app.wsgi_app)  # type: ignore[method-assign]  # Flask's documented place for middleware
    app.register_blueprint(_health(producer))
    app.register_blueprint(_events(settings, producer))
    if settings.serves_legacy_routes:
        app.register_blueprint(_routes_of_2019(settings, producer))


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


def _events(settings: Settings, producer: EventProducer) -> Blueprint:
    events = Blueprint("events", __name__)

    @events.post("/events")
    def post_events() -> Response:
        try:
            values = _with_key(parse_body(_json_body()))
        except BadBody as bad:
            errors = [FieldError(field=bad.field, message=bad.detail)]
            return problem(bad.status, f"{bad.field} {bad.detail}", errors=errors)
        checked: list[PurchaseItem | JoinGuild | Refused] = []
        for value in values:
            try:
                checked.append(check_event(value, items=settings.items, request_host=_raw_host()))
            except Refused as refused:
                checked.append(refused)
        receipts = iter(_produce(producer, [event for event in checked if not isinstance(event, Refused)]))
        return _answer([(event, None if isinstance(event, Refused) else next(receipts)) for event in checked])

    return events


def _answer(outcomes: list[tuple[PurchaseItem | JoinGuild | Refused, Receipt | None]]) -> Response:
    """Tell the fate of each event, and of the request as a whole by its status."""
    rows: list[dict[str, Any]] = []
    for index, (event, receipt) in enumerate(outcomes):
        row: dict[str, Any] = {"index": index}
        if not isinstance(event, Refused) or event.event_id is not None:
            row["event_id"] = str(event.event_id)
        if isinstance(event, Refused):
            row |= {"status": "refused", "errors": event.errors}
        elif receipt is None:
            row |= {"status": "unavailable"}
        else:
            row |= {"status": "accepted", "partition": receipt.partition, "offset": receipt.offset}
        rows.append(row)
    count = {status: sum(row["status"] == status for row in rows) for status in ("accepted", "refused", "unavailable")}
    body = {"accepted": count["accepted"], "refused": count["refused"], "events": rows}
    if count["refused"]:  # what the broker did not take is told by the producer, once and not for every request
        _log.info("events refused", **count)
    if count["unavailable"]:
        return problem(
            503, "not every event was acknowledged by the broker; send them again with the same event_id", **body
        )
    if not count["accepted"]:
        return problem(400, "no event is valid; see errors", **body)
    return Response(
        json.dumps(body) + "\n",
        status=HTTPStatus.MULTI_STATUS if count["refused"] else HTTPStatus.CREATED,
        mimetype="application/json",
    )


def _routes_of_2019(settings: Settings, producer: EventProducer) -> Blueprint:
    """The course project's routes, as ApacheBench drives them: no body, the player in the Host header, a line back."""
    routes = Blueprint("routes_of_2019", __name__)

    @routes.route("/purchase/<item>", methods=["GET", "POST"])
    def purchase(item: str) -> Response:
        if item not in settings.items:
            return _line(f"No such item; there are {', '.join(settings.items)}.", 404)
        return take({"event_type": "purchase_item", "item": item}, f"{item.capitalize()} purchased!")

    @routes.route("/join_a_guild", methods=["GET", "POST"])
    def join_a_guild() -> Response:
        return take({"event_type": "join_guild"}, "Guild joined!")

    def take(value: dict[str, Any], done: str) -> Response:
        if request.method == "HEAD":  # Flask adds it to every GET, and looking must not buy
            raise MethodNotAllowed(["GET", "POST"])
        try:
            [value] = _with_key([value])
            event = check_event(value, items=settings.items, request_host=_raw_host())
        except BadBody as bad:
            return _line(f"{bad.field} {bad.detail}.", bad.status)
        except Refused as refused:
            return _line("; ".join(f"{error['field']} {error['message']}" for error in refused.errors) + ".", 400)
        [receipt] = _produce(producer, [event])
        if receipt is None:
            return _line("Not taken: the broker does not answer. Try again.", 503)
        return _line(done, 200)

    return routes


def _line(text: str, status: int) -> Response:
    response = Response(text + "\n", status=status, mimetype="text/plain")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _produce(producer: EventProducer, events: list[PurchaseItem | JoinGuild]) -> list[Receipt | None]:
    """Complete the events with what the request tells and hand them to Kafka."""
    if not events:
        return []
    received_at = datetime.now(UTC)
    # a Host that is not one was refused by check_event for every event that needs it
    request_host = clean_host(_raw_host()) if any(event.host is None for event in events) else ""
    user_agent = _as_utf8(request.environ.get("HTTP_USER_AGENT"), errors="replace")
    records = []
    for event in events:
        record = complete(event, received_at=received_at, request_host=request_host, user_agent=user_agent)
        records.append((record["user_id"].encode(), encode(record)))
    return producer.send(records)


def _json_body() -> bytes:
    """The request's body, bounded.

    Raises:
        BadBody: not declared as plain JSON, or too large.
    """
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype != "application/json" or charset not in {"utf-8", "utf8"}:
        raise BadBody("must be application/json in UTF-8", field="Content-Type", status=415)
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise BadBody("must be absent: a compressed body is not taken", field="Content-Encoding", status=415)
    too_large = BadBody(f"is over {MAX_BODY_BYTES} bytes; send fewer events at once", status=413)
    try:
        raw = request.get_data(cache=False)
    except RequestEntityTooLarge:
        raise too_large from None
    if len(raw) > MAX_BODY_BYTES:
        raise too_large
    return raw


def _with_key(values: list[Any]) -> list[Any]:
    """Give a single event without an id the request's Idempotency-Key.

    Raises:
        BadBody: the key is no UUID, contradicts the event's own id, or stands for several events.
    """
    raw = request.headers.get("Idempotency-Key")
    if raw is None:
        return values
    key = check_key(raw)
    if len(values) != 1:
        raise BadBody("goes with a single event; in an array give each its event_id", field="Idempotency-Key")
    [value] = values
    if isinstance(value, dict) and str(value.setdefault("event_id", key)).lower() != key:
        raise BadBody("is not the event's event_id", field="Idempotency-Key")
    return [value]


def _raw_host() -> str:
    return _as_utf8(request.environ[RAW_HOST]) or ""


def _as_utf8(header: str | None, errors: str = "backslashreplace") -> str | None:
    """A header's text: WSGI hands bytes over as Latin-1."""
    return None if header is None else header.encode("latin-1").decode("utf-8", errors)
