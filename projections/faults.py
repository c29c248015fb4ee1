"""Errors of code that is not ours: which file and line they come from, so that no one looks for them here."""

from __future__ import annotations

import inspect
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventstore.errors import ChainfoldError
from projections.errors import ProjectorError

_OURS = Path(__file__).parent
_WRITTEN = _OURS / "projectors"
_LIBRARIES = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))


@contextmanager
def of_projector(where: str, file: str | None = None) -> Iterator[None]:
    """Makes every error that a projector's code raises within a `ProjectorError` that begins with `where`.

    Our own errors pass. `file` is where the code stands, if that is known.
    """
    try:
        yield
    except ChainfoldError:
        raise
    except (Exception, SystemExit) as raised:
        said = told(raised, file)
        place = f" ({file})" if file is not None and file not in said else ""
        raise ProjectorError(f"{where}: {said}{place}.", hint="Mend the projector.") from raised


def told(raised: BaseException, file: str | None = None) -> str:
    """The kind of an error, its text, and (file, line N): the last line of `file` that it went through, or,
    where that is not known, of the last code that is neither ours nor a library's."""
    if isinstance(raised, SyntaxError) and raised.filename:
        return f"{type(raised).__name__}: {raised.msg} ({raised.filename}, line {raised.lineno})"
    text = str(raised)
    said = f"{type(raised).__name__}: {text}" if text else type(raised).__name__
    frames = traceback.extract_tb(raised.__traceback__)
    if file is None:
        theirs = [frame for frame in frames if _is_theirs(frame.filename)]
    else:
        theirs = [frame for frame in frames if frame.filename == file]
    return f"{said} ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else said


def written_in(kind: type) -> str | None:
    """The file that a class is written in, as tracebacks name it; None where that is not known."""
    try:
        return inspect.getfile(kind)
    except (OSError, TypeError):
        return None


def _is_theirs(name: str) -> bool:
    path = Path(name)
    if name.startswith("<") or any(path.is_relative_to(library) for library in _LIBRARIES):
        return False
    ours = path.is_relative_to(_OURS) or path.is_relative_to(_OURS.parent / "eventstore")
    return path.is_relative_to(_WRITTEN) or not ours
