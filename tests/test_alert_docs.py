"""The table of incidents in the documents is that of the code."""

from __future__ import annotations

import re
from pathlib import Path

from projections.service.alerts.catalogue import KINDS, IncidentKind

TABLE = re.compile(r"^\| `([\w-]+)` \| (.*) \| (.*) \| (.*) \|$", re.MULTILINE)


def test_the_table_of_incidents_is_that_of_the_code() -> None:
    found = TABLE.findall(Path("docs/operations.md").read_text())
    assert {name: rest for name, *rest in found} == {name: _told(kind) for name, kind in KINDS.items()}


def _told(kind: IncidentKind) -> list[str]:
    return [kind.opens, kind.over, kind.todo.format(subject="NAME")]
