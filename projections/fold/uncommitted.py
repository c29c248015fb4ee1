"""How far a build is folded beyond its last commit: it has no readers, so not every page needs a commit.

Law: what is ahead lies in memory only. It belongs to the one row and the one set of documents that it began
from; when either is another, it is forgotten, and folded again from the row. So a build that is killed goes
on from its last commit, and a document is written once however many pages change it.
"""

from __future__ import annotations

import time

from msgspec import Struct

from projections.fold.documents import TrackedDocuments
from projections.fold.fold import Batch
from projections.fold.generation import Generation
from projections.fold.state import DeadLetter

COMMIT_EVERY = 60.0
"""Seconds of folding that a kill may cost a build: the default."""


class Ahead(Struct, frozen=True):
    """`row` is the build as it is committed, `cursor` where the fold stands beyond it, in `documents`.

    `dead` are the events that were passed over since, `began` is when the first page was folded
    (`time.monotonic`), `rewound_to` the block above which all that `row` holds is taken back.
    """

    row: Generation
    cursor: Generation
    documents: TrackedDocuments
    dead: list[DeadLetter]
    began: float
    rewound_to: int | None = None

    def may_wait(self, batch: Batch, limit: int, commit_every: float) -> bool:
        """Need this not be committed yet? Only in a build that never was served: what a revived one takes up
        again readers have seen. It is committed where the journal ends, an event failed, memory or time is
        used up."""
        return (
            self.row.state == "building"
            and self.row.revision == 0
            and self.rewound_to is None
            and batch.error is None
            and batch.through < limit
            and not self.documents.crowded
            and time.monotonic() - self.began < commit_every
        )
