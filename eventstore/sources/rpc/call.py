"""One call of JSON-RPC, and what its refusal says about the node."""

from __future__ import annotations

import re

from msgspec import Raw, Struct

from eventstore.errors import BlockUnknown, SourceError, Throttled

_NO_SUCH_METHOD = (-32601, -32004)
_NOT_A_METHOD = re.compile(
    r"\bmethod\b.{0,60}\b(?:not (?:found|supported|available|allowed|exist)|unavailable|unsupported|disabled)"
    r"|\bunsupported method\b",
    re.IGNORECASE,
)
_NOT_A_TAG = re.compile(
    r"invalid|unsupported|not supported|unrecogni[sz]ed|unknown (?:block )?(?:tag|parameter)|cannot unmarshal"
    r"|pars(?:e|ing)|syntax|hex string",
    re.IGNORECASE,
)


class Call(Struct, frozen=True):
    """A method and its parameters, as JSON-RPC wants them."""

    method: str
    params: tuple[object, ...] = ()


class CallRefused(Struct, frozen=True):
    """One call's failure, already in our terms; `code` is the node's own."""

    error: SourceError
    code: int | None

    @property
    def no_such_method(self) -> bool:
        """Does the node not know the method at all? Codes differ, and so do texts."""
        return self.code in _NO_SUCH_METHOD or bool(_NOT_A_METHOD.search(self.error.message))

    @property
    def no_such_tag(self) -> bool:
        """Of a question for the block of a tag: does the node not know the tag at all? A node that has no
        such block yet says so in other words (execution-apis#879)."""
        if isinstance(self.error, BlockUnknown | Throttled):
            return False
        return self.code in (-32601, -32602) or bool(_NOT_A_TAG.search(self.error.message))


def block_by_number(block: int | str) -> Call:
    """For the block of this number or tag, with the hashes of its transactions."""
    return Call("eth_getBlockByNumber", (hex(block) if isinstance(block, int) else block, False))


def result(item: Raw | CallRefused) -> Raw:
    """What a call brought. Raises the error of one that was refused."""
    if isinstance(item, CallRefused):
        raise item.error
    return item
