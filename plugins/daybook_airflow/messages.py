"""Notifications through Apprise: Slack, e-mail, webhooks and a hundred other services, each given by a URL."""

from __future__ import annotations

import structlog

from daybook.settings import load_settings


def send(text: str) -> None:
    """Send a text to all ``DAYBOOK_NOTIFY_URLS``. Blocks for a few seconds at most.

    A notification that cannot be sent is logged as an error; nothing else fails.
    """
    urls = load_settings().notify_urls.get_secret_value().split()
    if not urls:
        return
    import apprise

    for url in urls:
        # one by one: for several URLs together, Apprise only reports whether all of them succeeded
        messenger = apprise.Apprise()
        if not messenger.add(url) or not messenger.notify(title="Daybook", body=text, notify_type="failure"):
            # the URL may contain a password; its scheme does not
            kind = url.partition("://")[0] if "://" in url else "an invalid URL"
            structlog.get_logger(__name__).error(
                f"could not send the notification via {kind}: check DAYBOOK_NOTIFY_URLS"
            )
