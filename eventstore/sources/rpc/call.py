"""One call of JSON-RPC, and its failure."""

from __future__ import annotations

from msgspec import Raw, Struct

from eventstore.errors import SourceError
from eventstore.sources.rpc.refusals import is_no_such_method, is_no_such_tag


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
        """Does the node not know the method at all?"""
        return is_no_such_method(self.code, self.error.message)

    @property
    def no_such_tag(self) -> bool:
        """Of a question for the block of a tag: does the node not know the tag at all?"""
        return is_no_such_tag(self.code, self.error)


def block_by_number(block: int | str) -> Call:
    """For the block of this number or tag, with the hashes of its transactions."""
    return Call("eth_getBlockByNumber", (hex(block) if isinstance(block, int) else block, False))


def result(item: Raw | CallRefused) -> Raw:
    """What a call brought. Raises the error of one that was refused."""
    if isinstance(item, CallRefused):
        raise item.error
    return item
