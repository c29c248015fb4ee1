"""Delivery of alerts: the only file that knows Apprise. An address never shows its secrets."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Sequence
from threading import Thread, get_ident
from typing import Any, Literal

from eventstore.extras import install
from eventstore.redaction import scrubbed, secrets_in
from projections.errors import ConfigurationError
from projections.service.alerts.capped import cap

Mood = Literal["open", "over", "summary"]

PATIENCE = 30.0
"""Seconds that one message may take in all."""

_REDIRECT = re.compile(r"\berror=30[12378]\b")


class AlertAddress:
    """One Apprise URL, named by its place in the configuration. Raises `ConfigurationError` where no
    service of Apprise knows it, or Apprise is not installed. `patience` is in seconds and for one message."""

    def __init__(self, url: str, *, place: int, patience: float = PATIENCE) -> None:
        apprise = _library()
        self._patience = patience
        self._under_way: Thread | None = None
        scheme = url.partition("://")[0]
        self.name = f"alerts.urls[{place}] ({scheme if scheme.isalnum() else '?'})"
        self._secrets = secrets_in(url, host=True)
        heard = _Heard()
        with heard, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what its plug-ins import is not ours to mend
            made = apprise.Apprise.instantiate(
                url,
                asset=apprise.AppriseAsset(app_id="chainfold", async_mode=False, http_redirects=False),
            )
        if made is None:
            raise ConfigurationError(
                f"{self.name} is not an address that Apprise knows.",
                hint="Its documentation lists them: json://host/path, slack://..., mailto://...",
            )
        cap(made)
        self._service: Any = made

    def send(self, title: str, body: str, mood: Mood) -> str | None:
        """Why it was not taken; None where it was. Takes at most the patience: what has not ended then counts
        as not taken, and nothing else is sent there until it ends."""
        if self._under_way is not None and self._under_way.is_alive():
            return "an earlier message is still being sent to it"
        said: list[str | None] = []
        self._under_way = Thread(
            target=lambda: said.append(self._sent(title, body, mood)), name=f"to {self.name}", daemon=True
        )
        self._under_way.start()
        self._under_way.join(self._patience)
        return said[0] if said else f"it did not take the message within {self._patience:g} seconds"

    def _sent(self, title: str, body: str, mood: Mood) -> str | None:
        apprise = _library()
        kinds = {
            "open": apprise.NotifyType.FAILURE,
            "over": apprise.NotifyType.SUCCESS,
            "summary": apprise.NotifyType.INFO,
        }
        heard = _Heard()
        try:
            with heard:
                taken = self._service.notify(body=body, title=title, notify_type=kinds[mood])
        except Exception as error:  # noqa: BLE001 - a hundred services: any error means that it was not taken
            return scrubbed(f"{type(error).__name__}: {error}", self._secrets)
        if taken:
            return None
        reason = " ".join(heard.said) or "it gave no reason"
        if _REDIRECT.search(reason):
            reason += " Redirects are not followed: name the address that it leads to."
        return scrubbed(reason, self._secrets)


def addresses(urls: Sequence[str]) -> list[AlertAddress]:
    """Every address of `[alerts]`."""
    return [AlertAddress(url, place=place) for place, url in enumerate(urls)]


def _library() -> Any:
    try:
        import apprise
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "alerts.urls needs Apprise, which is not installed.",
            hint=install("alerts"),
        ) from error
    return apprise


class _Heard(logging.Handler):
    """What Apprise logs in this thread while the context is open: it may quote addresses, and goes nowhere
    else."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = get_ident()
        self.said: list[str] = []
        self._logger = logging.getLogger("apprise")

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.said.append(record.getMessage().strip())

    def __enter__(self) -> _Heard:
        self._logger.propagate = False
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
