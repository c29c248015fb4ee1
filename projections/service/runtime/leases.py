"""Holding leases while work lasts: acquired at once, renewed in the background, released at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from eventstore.errors import ChainfoldError, Fenced
from eventstore.storage.lease import TTL, Lease


@contextmanager
def held(
    leases: Sequence[Lease], *, tell: Callable[[Fenced], None] = lambda _: None
) -> Iterator[Callable[[], None]]:
    """Holds these leases: acquired at once, renewed in the background, released at the end.

    The next commit notices a lease that is lost meanwhile, because it is refused, and so does the end: any
    error of a holder that lost its lease becomes `Fenced`. A caller that has nothing to commit calls what
    this yields, in the middle or afterwards: it raises that `Fenced`. `tell` is called, in another thread,
    as soon as a renewal is refused; what is raised later is the same error.
    """
    taken: list[Lease] = []
    lost: list[Fenced] = []
    done = threading.Event()

    def renew() -> None:
        ours = list(taken)
        while not done.wait(min((lease.ttl for lease in leases), default=TTL) / 3):
            for lease in list(ours):
                try:
                    lease.renew()
                except Fenced as error:
                    ours.remove(lease)
                    lost.append(error)
                    tell(error)
                except ChainfoldError:
                    continue  # the next commit under this lease fails and says why

    def check() -> None:
        if lost:
            raise lost[0]

    keeper = threading.Thread(target=renew, name="leases", daemon=True)
    try:
        try:
            for lease in leases:
                release(lease)  # what the store was not there to take back the last time
                lease.acquire()
                taken.append(lease)
            keeper.start()
            yield check
        finally:
            done.set()
            if keeper.ident is not None:
                keeper.join()  # its renewal of what was given back would be refused
            for lease in taken:
                try:
                    release(lease)
                except Fenced as error:
                    lost.append(error)
    except ChainfoldError as error:
        if lost and error is not lost[0]:
            raise lost[0] from error
        raise


def release(lease: Lease) -> None:
    """A store that is away cannot take the lease back; it runs out by itself."""
    try:
        lease.release()
    except Fenced:
        raise
    except ChainfoldError as error:
        if not error.retry:
            raise
