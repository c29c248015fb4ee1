"""Asking the holder of a stage's lease to do something, and doing what was asked."""

from __future__ import annotations

import time
from typing import Any

from eventstore.errors import ChainfoldError, Fenced, LeaseHeld, StoreError
from projections.service.records.requests import Requests
from projections.service.runtime.leases import held
from projections.service.runtime.loops import Stage


def attend(stage: Stage, requests: Requests) -> bool:
    """Executes what commands asked of this stage's lease; its errors are the command's answer.

    Raises `Fenced` where the lease is lost: the request stays pending for the next holder.
    """
    waiting = requests.pending(stage.lease.name)
    for request in waiting:
        try:
            answer = stage.execute(request)
        except Fenced:
            raise
        except ChainfoldError as error:
            requests.finish(request, ok=False, detail=str(error))
        else:
            requests.finish(request, ok=True, detail=answer)
    return bool(waiting)


def ask(stage: Stage, requests: Requests, kind: str, **arguments: Any) -> str:
    """What `execute` answers: of whoever holds the stage's lease, or, with no holder, of ourselves."""
    number = requests.submit(stage.lease.name, kind, **arguments)
    while True:
        request = requests.get(number)
        if request.state == "done":
            return request.detail
        if request.state == "failed":
            raise StoreError(request.detail)
        try:
            with held([stage.lease]):
                attend(stage, requests)
        except LeaseHeld:
            time.sleep(0.1)
