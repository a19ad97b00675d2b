"""Messages to people outside Airflow, through Apprise: Slack, e-mail, a webhook and a hundred others, each a URL."""

from __future__ import annotations

import structlog

from daybook.settings import settings


def send(text: str) -> None:
    """Send a text to everybody in ``DAYBOOK_NOTIFY_URLS``. Blocks for seconds at most.

    Somebody who cannot be reached is an error in the log; nothing fails of it.
    """
    urls = settings().notify_urls.get_secret_value().split()
    if not urls:
        return
    import apprise

    for url in urls:
        # one by one: of many together Apprise only says whether all were reached
        messenger = apprise.Apprise()
        if not messenger.add(url) or not messenger.notify(title="Daybook", body=text, notify_type="failure"):
            # the address may hold a password, its scheme holds none
            kind = url.partition("://")[0] if "://" in url else "an address that is no URL"
            structlog.get_logger(__name__).error(f"not told by {kind}: see that DAYBOOK_NOTIFY_URLS is right")
