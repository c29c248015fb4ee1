"""Where alerts go: the one file that knows Apprise. An address never shows its secrets."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any, Literal

from eventstore.secret import keys_in, scrubbed
from projections.errors import ConfigurationError

Mood = Literal["open", "over", "summary"]


class Address:
    """One Apprise URL, named by its place in the configuration. Raises `ConfigurationError` where no
    service of Apprise knows it, or Apprise is not installed."""

    def __init__(self, url: str, *, place: int) -> None:
        apprise = _library()
        scheme = url.partition("://")[0]
        self.name = f"alerts.urls[{place}] ({scheme if scheme.isalnum() else '?'})"
        self._secrets = {url} | keys_in(url, host=True)
        heard = _Heard()
        with heard, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what its plug-ins import is not ours to mend
            made = apprise.Apprise.instantiate(
                url, asset=apprise.AppriseAsset(app_id="chainfold", async_mode=False)
            )
        if made is None:
            raise ConfigurationError(
                f"{self.name} is no address that Apprise knows.",
                hint="Its documentation lists them: json://host/path, slack://..., mailto://...",
            )
        self._service: Any = made

    def send(self, title: str, body: str, mood: Mood) -> str | None:
        """Why it was not taken; None where it was. Takes as long as the service does, within its timeouts."""
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
        except Exception as error:  # noqa: BLE001 - a hundred services: whatever one raises, it was not taken
            return scrubbed(f"{type(error).__name__}: {error}", self._secrets)
        if taken:
            return None
        return scrubbed(" ".join(heard.said) or "it gave no reason", self._secrets)


def addresses(urls: Sequence[str]) -> list[Address]:
    """Every address of `[alerts]`."""
    return [Address(url, place=place) for place, url in enumerate(urls)]


def _library() -> Any:
    try:
        import apprise
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "alerts.urls needs Apprise, which is not installed.",
            hint='Run `pip install "chainfold[alerts]"`.',
        ) from error
    return apprise


class _Heard(logging.Handler):
    """What Apprise logs while the context is open: it may quote addresses, and goes nowhere else."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []
        self._logger = logging.getLogger("apprise")

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage().strip())

    def __enter__(self) -> _Heard:
        self._logger.propagate = False
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
