"""Adapters that installed packages add by entry points: sinks, sources and projectors, by name."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Literal

from projections.errors import ConfigurationError

EntryPointGroup = Literal["chainfold.projectors", "chainfold.sinks", "chainfold.sources"]


def names(group: EntryPointGroup) -> list[str]:
    """The names that installed packages add to a group, in ascending order. Nothing is imported.

    The metadata of every installed package is read: ask only for a name that is not one of our own.
    """
    return sorted({point.name for point in entry_points(group=group)})


def load(group: EntryPointGroup, name: str, *, where: str) -> object:
    """Imports and returns what an installed package adds to `group` under `name`.

    `where` is the path of the key in the configuration that asks for it. Raises `ConfigurationError` when no
    package adds the name, when several do, or when the package cannot be imported: then with its name, its
    version and the cause.
    """
    found = list({point.value: point for point in entry_points(group=group, name=name)}.values())
    if not found:
        known = ", ".join(names(group)) or "nothing"
        raise ConfigurationError(
            f"{where}: no installed package adds {name} to {group}.",
            hint=f"Installed packages add {known}.",
        )
    if len(found) > 1:
        raise ConfigurationError(
            f"{where}: several installed packages add {name} to {group}: {' and '.join(map(_who, found))}.",
            hint="Uninstall all but one of them.",
        )
    [point] = found
    try:
        return point.load()
    except Exception as error:
        raise ConfigurationError(
            f"{where}: {name} of {_who(point)} cannot be loaded from {point.value}: "
            f"{type(error).__name__}: {error}.",
            hint="Repair or reinstall that package; every command that reads this configuration needs it.",
        ) from error


def _who(point: EntryPoint) -> str:
    return "an unnamed package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
