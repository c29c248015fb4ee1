"""The projectors that a configuration names: found, imported and made. Errors name file and line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import msgspec

import projections
from eventstore.recursion import limit_kept
from projections import plugins
from projections.errors import ConfigurationError, ProjectorError
from projections.faults import of_projector, written_in
from projections.projectors import Projector


def loaded(named: str, where: str, *, folder: Path) -> Projector:
    """The projector behind a name: `referrals`, a file of this package; the name of an entry point of the
    group `chainfold.projectors`; or an import path, `shop.views:Orders`.

    A module is looked for where Python looks, then in the folder that the command runs in, then in `folder`.
    Raises `ConfigurationError` when there is no such projector, `ProjectorError` when it cannot be used.
    """
    found = _found(named, where, folder)
    with of_projector(f"{where}: {found.__name__} cannot be used", written_in(found)):
        found.check()
        msgspec.json.schema(found.document)
        return found()


def _found(named: str, where: str, folder: Path) -> type[Projector]:
    if ":" in named:
        module_name, _, class_name = named.partition(":")
        if "" not in sys.path[-1:] and str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))  # at the end: a folder `projections` there is not ours
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
        module = _import(module_name, where)
        found = getattr(module, class_name, None)
        if not (isinstance(found, type) and issubclass(found, Projector)):
            raise ConfigurationError(
                f"{where}: {module_name} ({module.__file__}) has no projector {class_name}.",
                hint=f"It has {', '.join(_projectors(module)) or 'none'}.",
            )
        return found
    if named not in _shipped() and named in plugins.names("chainfold.projectors"):
        with limit_kept():
            added = plugins.load("chainfold.projectors", named, where=where)
        if not (isinstance(added, type) and issubclass(added, Projector)):
            raise ConfigurationError(
                f"{where}: the projector {named} that a package adds is not a Projector."
            )
        return added
    module = _import(f"projections.projectors.{named}", where)
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Projector) and value.__module__ == module.__name__:
            return value
    raise ProjectorError(f"{where}: projections/projectors/{named}.py defines no projector.")


def _shipped() -> list[str]:
    """The names of this package's projectors."""
    files = (Path(projections.__file__).parent / "projectors").glob("*.py")
    return sorted(path.stem for path in files if path.stem != "__init__")


def _projectors(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Projector) and value is not Projector
    ]


def _import(name: str, where: str) -> ModuleType:
    short = name.removeprefix("projections.projectors.")
    try:
        with limit_kept(), of_projector(f"{where}: {short} cannot be imported"):
            return importlib.import_module(name)
    except ProjectorError as error:
        missing = error.__cause__
        if isinstance(missing, ModuleNotFoundError) and f"{name}.".startswith(f"{missing.name}."):
            known = [*_shipped(), *plugins.names("chainfold.projectors")]
            raise ConfigurationError(
                f"{where}: there is no projector {short}.",
                hint=f"Known are {', '.join(known)}; your own are named module:Class, and looked for where "
                "Python looks, in the folder of the command and beside the configuration.",
            ) from missing
        raise
