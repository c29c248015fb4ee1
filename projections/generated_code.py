"""Functions whose text is put together at run time: defined, with their lines in tracebacks and profiles."""

from __future__ import annotations

import linecache
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32


def define(name: str, lines: Sequence[str], known: Mapping[str, Any], *, of: str) -> Any:
    """The function `name` that `lines` define, in which the names in `known` mean these values.

    Its file is called `<chainfold NAME of OF ...>`, and linecache has its text. Equal texts share an entry.
    """
    text = "\n".join(lines) + "\n"
    file = f"<chainfold {name} of {of} {crc32(text.encode()):08x}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    found = dict(known)
    exec(compile(text, file, "exec"), found)
    return found[name]
