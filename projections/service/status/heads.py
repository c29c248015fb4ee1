"""The head of every endpoint beside the chain that the journal follows: lag, or a chain that moved back?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from eventstore.errors import ChainfoldError, WrongChain
from eventstore.ingest.head import HeadTracker
from eventstore.ingest.reorg import Rewind
from eventstore.journal.chains import genesis_of
from eventstore.journal.tail import Tail
from eventstore.records import Header
from eventstore.sources import Node

if TYPE_CHECKING:
    from projections.service.runtime.wiring import Plan

HeadVerdict = Literal["ahead", "same", "behind", "syncing", "competes", "new", "fails"]


class EndpointHead(Struct, frozen=True):
    """One endpoint. `standing`: its head is `ahead` of ours, the `same`, or `behind` it on our chain
    (`syncing` where the node says so itself); another branch `competes`; nothing is known yet (`new`); it
    `fails`."""

    endpoint: str
    standing: HeadVerdict
    head: int | None
    hash: str | None
    detail: str


class ChainHeads(Struct, frozen=True):
    """Our newest block and the newest that was ever final, and every endpoint beside them."""

    known: int | None
    finalized: int | None
    endpoints: list[EndpointHead]

    @property
    def shows_ours(self) -> str | None:
        """An endpoint that shows our newest block, or a chain above it; None where none does."""
        return next((item.endpoint for item in self.endpoints if item.standing in ("ahead", "same")), None)

    @property
    def moved_back(self) -> bool:
        """Is every head that could be read behind ours, by nodes that do not call themselves syncing?"""
        read = [item for item in self.endpoints if item.standing != "fails"]
        return bool(read) and all(item.standing == "behind" for item in read)

    def verdict(self, name: str) -> str:
        """What this says, and what to do."""
        standings = {item.standing for item in self.endpoints}
        if standings == {"fails"}:
            return "no endpoint answers, so nothing can be said."
        if (shows := self.shows_ours) is not None:
            late = [item.endpoint for item in self.endpoints if item.standing in ("behind", "syncing")]
            return f"{shows} shows block {self.known:,}, which we know" + (
                f"; {', '.join(late)} lags." if late else "."
            )
        if "competes" in standings:
            return "the chain has another branch: the next sync, or the running service, follows it."
        if "syncing" in standings:
            return "the node says that it is syncing: it lags. Wait for it, or name another endpoint."
        if self.moved_back:
            highest = max(item.head or 0 for item in self.endpoints)
            return (
                f"no endpoint shows more than block {highest:,}, and no header competes with ours up to "
                f"{self.known:,}. If no node of this chain shows more, the chain moved back: "
                f"`chainfold heads {name} --follow` goes back with it. Else name a node that is not behind."
            )
        return "nothing is known of this chain yet: run `chainfold sync`."


def heads(plan: Plan, name: str) -> ChainHeads:
    """Asks every endpoint of a chain, one after the other. Writes nothing."""
    chain = plan.config.chains[name]
    with plan.store.read() as tx:
        tail = Tail(tx, chain.chain_id)
        known, finalized = tail.headers(), tail.finalized()
        genesis = genesis_of(tx, chain.chain_id)
    found = []
    for source in plan.endpoints(name):
        try:
            identity = source.identity()
            if identity.chain_id != chain.chain_id or genesis not in (None, identity.genesis):
                raise WrongChain(f"{source.name} serves another chain: id {identity.chain_id}.")
            head = source.head() if chain.follow == "latest" else source.finalized()
            found.append(_standing(plan, source, known, head, chain_id=chain.chain_id))
        except ChainfoldError as error:
            found.append(EndpointHead(source.name, "fails", None, None, str(error)))
        finally:
            source.close()
    return ChainHeads(known[-1].number if known else None, None if finalized < 0 else finalized, found)


def _standing(
    plan: Plan, source: Node, known: list[Header], head: Header | None, *, chain_id: int
) -> EndpointHead:
    if head is None:
        return EndpointHead(source.name, "fails", None, None, "It calls no block final yet.")
    standing: HeadVerdict
    if not known:
        standing, detail = "new", "Nothing is known of this chain yet."
    else:
        tip = known[-1].number
        decision = HeadTracker(plan.store, source, chain_id).compare(known, head)
        if isinstance(decision, Rewind):
            standing = "competes"
            detail = f"Its branch is not ours above block {decision.to:,}, or a little above it."
        elif head.number > tip:
            standing, detail = "ahead", f"It shows {head.number - tip:,} blocks above ours."
        elif head.number == tip:
            standing, detail = "same", "It shows our newest block."
        elif source.syncing():
            standing, detail = "syncing", f"{tip - head.number:,} blocks below ours: the node is syncing."
        else:
            standing, detail = "behind", f"{tip - head.number:,} blocks below ours, on our chain."
    return EndpointHead(source.name, standing, head.number, "0x" + head.hash.hex(), detail)
