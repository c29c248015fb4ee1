"""How wide a range to ask a node for, learned from what it answered. Pure: nothing here does I/O.

Law: a refusal always leads to a smaller question, to patience, or to an error with a name; never
to the same question again at once.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from eventstore.errors import RangeTooLarge, SourceError, SourceUnavailable
from eventstore.records import BlockRange


class Window(Struct, frozen=True):
    """How many blocks to ask for next, learned from what an endpoint answered and refused.

    It doubles until the first refusal, then halves at each and grows by an eighth of where that
    left it. A cap in blocks is remembered for good; a cap in results only shrinks, and regrows.
    Several ranges may be in flight: what comes back is judged by the width that was asked.
    """

    size: int = 2_000
    most: int = 1_000_000
    enough: int = 20_000
    """Logs in one answer that are plenty: the window does not grow past this density."""
    cap: int | None = None
    """The most blocks the endpoint takes, as it said (or one less, where that was refused too)."""
    threshold: int | None = None
    """Below this width growth doubles, above it is additive; None before the first refusal."""
    failing: bool = False
    """The last attempt failed without a word about ranges."""

    def take(self, first: int, last: int) -> BlockRange:
        """The next range to ask for: from `first`, not past `last`, not wider than the window."""
        return BlockRange(first, min(last, first + self.size - 1))

    def answered(self, asked: BlockRange, *, logs: int) -> Window:
        """The window after `asked` was answered with so many logs. Narrow answers prove nothing."""
        if logs > 2 * self.enough and len(asked) > 1:
            return self._shrunk(max(1, len(asked) // 2))
        if len(asked) < self.size or logs >= self.enough:
            return replace(self, failing=False)
        threshold = self._most if self.threshold is None else self.threshold
        doubled, added = min(self.size * 2, threshold), self.size + max(1, threshold // 8)
        size = doubled if self.size < threshold else added
        return replace(self, size=min(size, self._most), failing=False)

    def refused(self, asked: BlockRange, error: SourceError) -> Window:
        """The window after `asked` ended in `error`; unchanged where its width is not to blame.

        A suggestion is taken only if it is ordered and narrower than what was asked. A failure
        without words (a timeout, 503) may be one of width and halves too. Raises `SourceError`,
        which is final, where a single block was too large.
        """
        width = len(asked)
        match error:
            case RangeTooLarge():
                if width == 1:
                    raise SourceError(
                        f"The node refuses even the single block {asked.first}. {error.message}",
                        hint="Read this block by its hash or its receipts, narrow the topics, or"
                        " use another endpoint.",
                    ) from error
                if error.limit is not None and 0 < error.limit <= width:
                    return self._capped(error.limit - (error.limit == width))
                return self._shrunk(_offered(error.suggestion, width) or width // 2)
            case SourceUnavailable():
                threshold = self.threshold if self.failing else max(1, width // 2)
                size = min(self.size, max(1, width // 2))
                return replace(self, size=size, threshold=threshold, failing=True)
            case _:
                return self

    @property
    def _most(self) -> int:
        return self.most if self.cap is None else min(self.most, self.cap)

    def _capped(self, limit: int) -> Window:
        cap = min(limit, self._most)
        return replace(self, cap=cap, size=min(self.size, cap), failing=False)

    def _shrunk(self, width: int) -> Window:
        size = min(self.size, width)
        return replace(self, size=size, threshold=size, failing=False)


def _offered(suggestion: tuple[int, int] | None, width: int) -> int | None:
    """How many blocks `suggestion` spans; None where it is inverted or not narrower."""
    if suggestion is None:
        return None
    offered = suggestion[1] - suggestion[0] + 1
    return offered if 0 < offered < width else None
