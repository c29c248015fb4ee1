"""Asking the holder of a stage's lease to do something, and doing what was asked."""

from __future__ import annotations

import time

from eventstore.errors import ChainfoldError, Fenced, LeaseHeld, StoreError
from projections.service.records.requests import Operation, Requests, UnknownOperation, kind_of
from projections.service.records.results import Result, decoded, encoded
from projections.service.runtime.leases import held
from projections.service.runtime.loops import Stage


def attend(stage: Stage, requests: Requests) -> bool:
    """Executes what commands asked of this stage's lease; its errors are the command's answer.

    Raises `Fenced` where the lease is lost: the request stays pending for the next holder.
    """
    waiting = requests.pending(stage.lease.name)
    for request in waiting:
        try:
            result = stage.execute(request)
        except Fenced:
            raise
        except ChainfoldError as error:
            requests.finish(request, ok=False, detail=str(error))
        else:
            requests.finish(request, ok=True, detail=encoded(result))
    return bool(waiting)


def ask(stage: Stage, requests: Requests, operation: Operation) -> Result:
    """Has the holder of the stage's lease do this, or, with no holder, does it here; what came of it.

    Raises `StoreError` with the holder's reason where it failed.
    """
    number = requests.submit(stage.lease.name, operation)
    while True:
        request = requests.get(number)
        if request.state == "done":
            return decoded(request.detail)
        if request.state == "failed":
            raise StoreError(request.detail)
        try:
            with held([stage.lease]):
                attend(stage, requests)
        except LeaseHeld:
            time.sleep(0.1)


def unknown(stage: Stage, operation: Operation | UnknownOperation) -> StoreError:
    """The refusal of an operation that a stage does not have."""
    return StoreError(f"{stage.name} does not know the request {kind_of(operation)}.")
