"""The report of `verify events`: what is proven, what is wrong, and what could not be proved.

Law: unproven is never ok. A check is ok if all that is final, fetched and asked for is proven; otherwise it
says why not, the same each time. For a chain whose configuration accepts that, it is a remark.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from eventstore.journal.proofs import Disproof
from eventstore.journal.tail import Tail
from eventstore.proof.profile import profile_of
from eventstore.proof.proven import proven, unfetched, unproven, without
from eventstore.records import NO_END, BlockRange, Watch, clipped
from eventstore.report import Check, Findings
from eventstore.storage.store import Store

REPAIR = "`chainfold verify events --repair` puts blocks right from receipts that prove themselves."


def check(
    store: Store,
    chain_id: int,
    watches: Sequence[Watch],
    *,
    name: str,
    chain: str,
    within: BlockRange,
    failed: Sequence[Disproof],
    repaired: int,
    reason: str,
    accepted: bool,
) -> Check:
    """The verdict over the blocks `within`. `failed` is what the proof wrote down before a repair;
    `repaired` of them are right now; `reason` is why the prover stopped, empty where it came to its end."""
    findings = Findings(name)
    wrong = [item for item in failed if item.kind == "wrong"]
    for item in wrong:
        findings.add(f"block {item.number}", item.reason)
    with store.read() as tx:
        standing = proven(tx, chain_id, watches)
        left = unproven(tx, chain_id, watches, within=within)
        lacking = unfetched(tx, chain_id, watches, within=within)
        final = Tail(tx, chain_id).finalized()
    for part in standing:
        clip = clipped(part, first=within.first, last=within.last)
        findings.checked += len(clip) if clip else 0
    for item in wrong:
        left = [part for whole in left for part in without(whole, [BlockRange(item.number, item.number)])]
    why = _unproven(chain_id, left, failed, reason)
    asked = within.last < NO_END
    if lacking and asked:
        why = f"{why} Not fetched: {_named(lacking)}.".strip()
    if final < within.last and asked:
        why = (
            f"{why} Not final yet: {_named([BlockRange(max(within.first, final + 1), within.last)])}.".strip()
        )
    if not why and not findings.checked and not wrong:
        why = "No block that is asked for is fetched and final yet: nothing was looked at."
    said = []
    if (
        lacking and not asked
    ):  # a gap has an incident of its own, and a repair leaves the rest to the next sync
        said.append(f"Not fetched, so not looked at: {_named(lacking)}.")
    if why and accepted:
        said.append(f"chains.{chain}.accept_unproven: {why}")
    if findings.found > repaired:
        said.append(REPAIR)
    return replace(findings.check(note=" ".join(said)), repaired=repaired, error="" if accepted else why)


def _unproven(chain_id: int, left: Sequence[BlockRange], failed: Sequence[Disproof], reason: str) -> str:
    """Which blocks are not proven and why; empty where all are."""
    cause = profile_of(chain_id).reason
    if cause is not None:
        return f"Nothing can be proved on this chain: {cause}."
    if not left:
        return ""
    causes = [item.reason for item in failed if item.kind != "wrong"]
    cause = causes[0] if causes else reason or "the proof did not come so far; run it again."
    return f"Not proven: {_named(left)}. {cause}"


def _named(parts: Sequence[BlockRange]) -> str:
    """Blocks in words; of several ranges how many, and between which."""
    lowest, highest, count = parts[0].first, parts[-1].last, sum(map(len, parts))
    if count == 1:
        return f"block {lowest:,}"
    some = "" if count == highest - lowest + 1 else f"{count:,} of the "
    return f"{some}blocks {lowest:,} to {highest:,}"
