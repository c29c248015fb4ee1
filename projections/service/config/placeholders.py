"""`${NAME}` and `${file:/run/secrets/name}` in the strings of the configuration.

Law: what stood behind one is never shown. Complaints name the key and the variable, not the value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from projections.errors import ConfigurationError, SignatureError

_PLACEHOLDER = re.compile(r"\$\{([^}]*)(\}?)")
_NAME = re.compile(r"file:.+|[A-Za-z_]\w*")
_SHORT = 4
"""A value shorter than this is hidden only where it stands as a word: `1` is in every address."""


class Placeholders:
    """Fills them in, and knows afterwards what to hide. Relative files are relative to `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._values: dict[str, str] = {}

    def fill(self, value: Any, where: str = "") -> Any:
        """`value` with every placeholder in every string of it replaced; keys are left as they are."""
        match value:
            case dict():
                return {
                    key: self.fill(item, f"{where}.{key}" if where else key) for key, item in value.items()
                }
            case list():
                return [self.fill(item, f"{where}[{place}]") for place, item in enumerate(value)]
            case str():
                return _PLACEHOLDER.sub(lambda found: self._value(found, where), value)
            case _:
                return value

    @property
    def values(self) -> frozenset[str]:
        """What stood behind the placeholders so far, where it is too long to be a word of any sentence."""
        return frozenset(value for value in self._values if len(value) >= _SHORT)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Complaints that leave this block say `${NAME}` where they quoted what stood behind it."""
        try:
            yield
        except (ConfigurationError, SignatureError) as error:
            message, hint = self._masked(error.message), self._masked(error.hint)
            if (message, hint) == (error.message, error.hint):
                raise
            raise type(error)(message, hint=hint) from None  # the cause quotes the value too

    def _value(self, found: re.Match[str], where: str) -> str:
        name, closed = found.groups()
        if not closed or not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{where}: a ${{ is not followed by a name and a brace.",
                hint="Write ${NAME} or ${file:/run/secrets/name}.",
            )
        value = (
            self._file(name.removeprefix("file:"), where) if name.startswith("file:") else _env(name, where)
        )
        if value:
            self._values[value] = found.group()
            self._values[repr(value)[1:-1]] = found.group()
        return value

    def _file(self, name: str, where: str) -> str:
        path = self._folder / name
        try:
            return path.read_text("utf-8").strip()
        except OSError as error:
            raise ConfigurationError(f"{where}: the file {path} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError:
            # without its cause, which holds what was read
            raise ConfigurationError(f"{where}: the file {path} is not UTF-8 text.") from None

    def _masked(self, text: str) -> str:
        for value in sorted(self._values, key=len, reverse=True):
            pattern = re.escape(value)
            if len(value) < _SHORT:
                pattern = rf"(?<!\w){pattern}(?!\w)"
            text = re.sub(pattern, self._values[value].replace("\\", r"\\"), text)
        return text


def _env(name: str, where: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise ConfigurationError(f"{where}: the environment variable {name} is not set.") from None
