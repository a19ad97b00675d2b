"""The pages as HTML, and the sentences on them; nothing here reads the lake."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from daybook.analysis.comparisons import relative_change
from daybook.contract import event_label
from daybook.formatting import escaped
from daybook.lake.ledger import LEDGER_COUNTS
from daybook.lake.receipts import row_text
from daybook.report import charts
from daybook.report.content import COUNT_MEANINGS, KEPT_ROWS, OVERVIEW_COUNTS, SHOWN_ROWS

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def day_page(content: Mapping[str, Any]) -> str:
    """Return the page of a day as HTML."""
    rows = {table["name"]: table["rows"] for table in content["answers"]}
    page = content["page"]
    usage = rows.get("provider_usage", [])
    return (
        _environment()
        .get_template("day.html.j2")
        .render(
            **content,
            counts=LEDGER_COUNTS,
            meanings=COUNT_MEANINGS,
            shown={table["name"] for table in content["answers"]},
            users_say=users_say(page["events"], rows),
            providers_say=providers_say(usage),
            pictures=_pictures(content, rows),
            coverage=next((row["coverage"] for row in usage), None),
            unknown=[row for row in usage if _is_bucket(row["provider"])],
        )
    )


def index_page(content: Mapping[str, Any]) -> str:
    """Return the overview as HTML."""
    pages = content["pages"]
    events = {page["day"]: page["events"] for page in pages}
    picture = charts.trend("events per day", events, max(events)) if events else ""
    return _environment().get_template("index.html.j2").render(**content, counts=OVERVIEW_COUNTS, picture=picture)


def users_say(events: int, rows: Mapping[str, list[dict[str, Any]]]) -> str:
    """Describe what users do, in a few plain sentences made from the day's answers."""
    if not events:
        return "Nothing: the day is known to have no events."
    sentences = []
    if activity := rows.get("daily_activity"):
        [day] = activity
        kinds = [f"{_share(day['purchases'] / events)} purchases", f"{_share(day['guild_joins'] / events)} guild joins"]
        sentences.append(
            f"{_count(day['users'], 'player')} made {_count(events, 'event')}, {day['events_per_user']:.1f} each: "
            f"{kinds[0]} and {kinds[1]}."
        )
    else:
        sentences.append(f"{_count(events, 'event')}.")
    if popular := rows.get("event_popularity"):
        names = [event_label(row["event_type"], row["item"]) for row in popular[:3]]
        named = [f"{name} ({_share(row['share'])})" for name, row in zip(names, popular, strict=False)]
        sentences.append(f"Most popular: {_listed(named)}.")
    if hours := rows.get("hourly_activity"):
        busiest = max(hours, key=lambda row: int(row["events"]))
        sentences.append(
            f"The busiest hour begins at {busiest['hour']:02d}:00 UTC ({_share(busiest['events'] / events)})."
        )
    return " ".join(sentences)


def providers_say(usage: Sequence[Mapping[str, Any]]) -> str:
    """Describe which providers users come from, in a few plain sentences."""
    if not usage:
        return "No providers: no event of the day has a host."
    named = [row for row in usage if not _is_bucket(row["provider"])]
    if not named:
        return "No event's host belongs to a known provider."
    top = named[:3]
    shares = [f"{row['provider']} ({_share(row['share'])})" for row in top]
    sentence = f"Most events come from {_listed(shares)}"
    if len(named) > len(top) > 1:
        carried = _share(sum(row["share"] for row in top))
        sentence += f"; these {len(top)} of {len(named)} known providers account for {carried}"
    unknown = 1 - usage[0]["coverage"]
    return f"{sentence}. " + (
        f"The provider is unknown for {_share(unknown)} of the events." if unknown > 0 else "Every provider is known."
    )


def message_page(title: str, paragraphs: Iterable[str], commands: Mapping[str, str], links: Mapping[str, str]) -> str:
    """Return a page in the frame of the others that explains why a page does not exist, and how to continue.

    Args:
        title: the situation, in a few words.
        paragraphs: details, and what readers see meanwhile.
        commands: purpose -> a command to type.
        links: text -> name of another page.
    """
    template = _environment().get_template("message.html.j2")
    return template.render(title=title, paragraphs=paragraphs, commands=commands, links=links)


def _pictures(content: Mapping[str, Any], rows: Mapping[str, list[dict[str, Any]]]) -> dict[str, Markup]:
    """Return the charts of a day by name; empty where there is nothing to draw."""
    popular, usage = rows.get("event_popularity", []), rows.get("provider_usage", [])
    mix = rows.get("provider_event_popularity", [])
    # headers of narrow columns show the item alone, unless two types have an item of that name
    kinds = {(row["event_type"], row["item"]) for row in mix}
    items = [item for _, item in kinds if item is not None]
    heads = {
        kind: kind[1] if kind[1] is not None and items.count(kind[1]) == 1 else event_label(*kind) for kind in kinds
    }
    day = content["page"]["event_date"]
    return {
        "events": charts.ranked_bars(
            "events by kind",
            [charts.Bar(event_label(row["event_type"], row["item"]), row["events"]) for row in popular],
        ),
        "hours": charts.hour_curve(
            "events by hour of the day, UTC", {row["hour"]: row["events"] for row in rows.get("hourly_activity", [])}
        ),
        "providers": charts.ranked_bars(
            "events by provider",
            [charts.Bar(row["provider"], row["events"], not _is_bucket(row["provider"])) for row in usage],
        ),
        "mix": charts.heat_map(
            "share of each provider's events by kind of event",
            {(row["provider"], heads[row["event_type"], row["item"]]): row["events"] for row in mix},
            [row["provider"] for row in usage],
            "providers",
        ),
        "trend": charts.trend("events per day", content["events_of_days"], day),
        "premise": charts.distances("distance from the days before", content["premise"]),
    }


def _is_bucket(provider: str) -> bool:
    """Return whether the name is a bucket of hosts without a known provider."""
    return provider.startswith("(")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _share(share: float) -> str:
    return f"{share:.1%}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # hosts, players and items come from the internet: everything is escaped unless it is markup made here
    environment = Environment(
        loader=PackageLoader("daybook.report"), autoescape=True, undefined=StrictUndefined, finalize=_without_commands
    )
    environment.globals |= {"shown_rows": SHOWN_ROWS, "kept_rows": KEPT_ROWS}
    environment.filters |= {
        "cell": _cell,
        "change": _change,
        "verdict": _verdict,
        "mix": _mix,
        "weekday": _weekday,
        "moment": _moment,
        "minute": _minute,
        "balanced": _balanced,
        "label": _label,
        "row_text": row_text,
    }
    return environment


def _without_commands(value: Any) -> Any:
    """Escape invisible and text-direction characters in a value that a template inserts into the page."""
    return escaped(value) if isinstance(value, str) else value


def _cell(value: Any, column: str) -> str:
    """Format a cell for people: thousands separated, shares in percent, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, float):
        # for a mean in the thousands, hundredths do not matter
        return f"{value:.1%}" if _is_share(column) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _is_share(column: str) -> bool:
    return column == "share" or column.endswith(("_share", "coverage"))


def _change(value: float, before: float) -> str:
    """Return by how much a count is above or below another, in words for a cell."""
    if value == before:
        return "the same"
    change = relative_change(value, before)
    return "up from 0" if change is None else f"{change:+.1%}"


def _mix(verdict: str) -> str:
    """Return a verdict on a mix, in a reader's words."""
    return {
        "holds": "as usual",
        "deviates": "different",
        "unclear": "not clear",
        "too few days": "too early to say",
    }.get(verdict, verdict)


def _verdict(verdict: str) -> str:
    """Return the CSS class of a verdict's word."""
    return {"holds": "good", "deviates": "bad"}.get(verdict, "soft")


def _weekday(day: str) -> str:
    return f"{date.fromisoformat(day):%A}"


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S} UTC"


def _minute(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"


def _balanced(is_balanced: bool) -> Markup:
    from markupsafe import Markup

    return Markup('<span class="good">Balanced</span>' if is_balanced else '<span class="bad">Does not balance</span>')


def _label(column: str) -> str:
    return column.replace("_", " ").capitalize()
