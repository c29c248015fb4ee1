"""One node's HTTP endpoint: calls in, outcomes out.

Law: the key in the endpoint's address appears in no message and in no traceback.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from itertools import count
from threading import Lock
from time import time
from urllib.parse import urljoin

import msgspec
import requests
from msgspec import Raw

from eventstore.errors import (
    AnswerRefused,
    RangeTooLarge,
    SourceError,
    SourceUnavailable,
    Throttled,
    Unreadable,
)
from eventstore.redaction import hidden, public, secrets_in
from eventstore.sources.rpc import envelope
from eventstore.sources.rpc.call import Call, CallRefused
from eventstore.sources.rpc.envelope import Failure
from eventstore.sources.rpc.rate_limit import RateLimiter
from eventstore.sources.rpc.refusals import classify
from eventstore.sources.rpc.transport import MOST, AnswerTooLargeError, Provider, Said
from eventstore.sources.rpc.web3_parts import Web3Exception

AT_ONCE = 8
"""How many requests may be under way for calls that do not depend on each other."""

_NO_BATCHES_HERE = (400, 405, 413, 415, 422, 501)
"""HTTP statuses that a gateway answers to a batch where it would take the same calls one by one."""

_MAY_BE_LARGE = ("eth_getLogs", "eth_getBlockReceipts")


class _BatchRefusedError(Exception):
    """The node takes these calls, but not so many of them at once."""


class RpcClient:
    """A node behind a URL. `requests` counts the calls made, by method, and `outages` how often it could
    not be reached; `name` may be shown.

    `timeout` is in seconds and for the whole of one HTTP request, from the name's look-up to the answer's
    last byte; it carries at most `max_batch` calls: fewer once the node has refused so many. Redirects are
    not followed. With a `pace` calls wait for their turn, and no request carries more than a second's worth
    of them. An answer has at most `max_answer` bytes, decompressed. Safe to use from several threads.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        max_batch: int,
        pace: RateLimiter | None = None,
        max_answer: int = MOST,
    ) -> None:
        self.requests: Counter[str] = Counter()
        self.outages = 0
        self.name = public(url)
        self._secrets = secrets_in(url)
        self._timeout = timeout
        self._pace = pace
        self._batch = max_batch if pace is None else max(1, min(max_batch, int(pace.per_second)))
        self._borne = 1  # the largest batch that the node was seen to take
        self._callers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="calls")
        self._ids = count(1)
        self._lock = Lock()
        self._most = max_answer
        self._provider = Provider(url, timeout=timeout, most=max_answer)

    def close(self) -> None:
        """Ends all connections. The endpoint cannot be used afterwards."""
        self._callers.shutdown(wait=False, cancel_futures=True)
        self._provider.close()

    def ask(self, calls: Sequence[Call]) -> list[Raw | CallRefused]:
        """The outcomes of `calls`, in their order, in as few requests as the node bears.

        Calls of several methods are made in their order: what one shows was so before the next was
        asked. Those of one method may be under way together, but not where a `pace` sets the time.

        Raises `SourceError` only for the failure of a whole request. The node's refusal of one call is
        returned in the place of its result.
        """
        if self._pace is not None or len(calls) <= self._batch or len({call.method for call in calls}) > 1:
            return self._in_turn(calls)
        # One request finds out how many calls the node takes together, before several are under way.
        answers = self._in_turn(calls[: self._batch]) if self._borne < self._batch else []
        parts = [calls[start : start + self._batch] for start in range(len(answers), len(calls), self._batch)]
        for part in self._callers.map(self._in_turn, parts):
            answers += part
        return answers

    def _in_turn(self, calls: Sequence[Call]) -> list[Raw | CallRefused]:
        answers: list[Raw | CallRefused] = []
        while len(answers) < len(calls):
            part = calls[len(answers) : len(answers) + self._batch]
            if len(part) == 1:
                answers.append(self._alone(part[0]))
                continue
            try:
                answers += self._together(part)
            except _BatchRefusedError:
                self._batch = max(1, min(self._batch, len(part) // 2))
        return answers

    def _alone(self, call: Call) -> Raw | CallRefused:
        number = next(self._ids)
        try:
            answer = self._post([call], envelope.request(number, call.method, call.params))
        except AnswerTooLargeError:
            return self._too_large(call)
        said = self._read(answer)
        if isinstance(said, dict):
            if str(number) not in said:
                raise AnswerRefused(f"{self.name} answered something else than {call.method}.")
            said = said[str(number)]
        if isinstance(said, Failure):
            return self._refusal(said, answer.response, call.method)
        return said

    def _together(self, calls: Sequence[Call]) -> list[Raw | CallRefused]:
        ids = [next(self._ids) for _ in calls]
        try:
            answer = self._post(
                calls,
                [
                    envelope.request(number, call.method, call.params)
                    for number, call in zip(ids, calls, strict=True)
                ],
            )
        except AnswerTooLargeError:
            return self._apart(calls)
        try:
            said = self._read(answer)
        except (SourceUnavailable, Throttled):
            raise
        except SourceError as error:
            if answer.response.status_code in _NO_BATCHES_HERE:
                raise _BatchRefusedError from error
            raise
        if not isinstance(said, dict):
            failure = said if isinstance(said, Failure) else Failure(None, "", None)
            whole = self._error(failure, answer.response)
            if type(whole) is SourceError or not isinstance(said, Failure):
                raise _BatchRefusedError
            raise whole
        answers: list[Raw | CallRefused] = []
        for number, call in zip(ids, calls, strict=True):
            outcome = said.get(str(number))
            if outcome is None:
                raise AnswerRefused(
                    f"{self.name} left {call.method} out of its answer to a batch of {len(calls)}.",
                    hint="It is asked again.",
                )
            if isinstance(outcome, Failure):
                answers.append(self._refusal(outcome, answer.response, call.method))
            else:
                answers.append(outcome)
        self._borne = max(self._borne, len(calls))
        return answers

    def _apart(self, calls: Sequence[Call]) -> list[Raw | CallRefused]:
        """The same calls in smaller requests, once their answers were too large together. Where only one of
        them may be large it was that one, and it is not asked again."""
        large = [call for call in calls if call.method in _MAY_BE_LARGE]
        if len(large) == 1:
            return [self._too_large(call) if call is large[0] else self._alone(call) for call in calls]
        half = len(calls) // 2
        answers: list[Raw | CallRefused] = []
        for part in (calls[:half], calls[half:]):
            answers += [self._alone(part[0])] if len(part) == 1 else self._together(part)
        return answers

    def _post(self, calls: Sequence[Call], payload: object) -> Said:
        if self._pace is not None:
            self._pace.wait(len(calls))
        with self._lock:
            self.requests.update(call.method for call in calls)
        try:
            said = self._provider.post(msgspec.json.encode(payload))
        except requests.Timeout as error:
            self.outages += 1
            raise SourceUnavailable(
                f"{self.name} did not answer within {self._timeout:g} seconds.",
                hint="A range of fewer blocks, or another endpoint, may be faster.",
            ) from self._harmless(error)
        except (requests.RequestException, Web3Exception, OSError, ValueError) as error:
            self.outages += 1
            raise SourceUnavailable(
                f"{self.name} cannot be reached ({type(error).__name__}).",
                hint="Check the address and the network; it is tried again.",
            ) from self._harmless(error)
        if said.response.is_redirect:
            raise self._redirected(said.response)
        return said

    def _redirected(self, response: requests.Response) -> SourceError:
        """A redirect is not followed: the request would go to the host that the answer names, and for most
        statuses without its body."""
        target = public(urljoin(response.url, response.headers["location"]))
        kind = SourceError if response.is_permanent_redirect else SourceUnavailable
        return kind(
            f"{self.name} answers {response.status_code} and redirects to {target}, which is not followed.",
            hint="If you trust that address, name it in rpc instead.",
        )

    def _read(self, answer: Said) -> dict[str, Raw | Failure] | Raw | Failure:
        try:
            return envelope.replies(answer.body)
        except msgspec.DecodeError as error:
            response = answer.response
            if response.status_code != 200:
                said = f"{response.status_code} {response.reason} {answer.page}".strip()
                raise self._error(Failure(None, said, None), response) from error
            raise SourceUnavailable(
                f"{self.name} answered {len(answer.body)} bytes that are not JSON-RPC.",
                hint="The answer may have been cut short; it is asked for again.",
            ) from error

    # --- failures ---

    def _too_large(self, call: Call) -> CallRefused:
        """The refusal is ours: a range is narrowed, and a single answer that is too large stays so."""
        said = (
            f"{self.name} answers {call.method} with more than {self._most:,} bytes, the most that is read"
            " (max_answer)."
        )
        if call.method in _MAY_BE_LARGE:
            return CallRefused(RangeTooLarge(said, hint="Fewer blocks are asked for."), None)
        return CallRefused(Unreadable(said, hint="Raise max_answer of this chain, if memory allows."), None)

    def _refusal(self, failure: Failure, response: requests.Response, method: str) -> CallRefused:
        error = self._error(failure, response)
        if isinstance(error, RangeTooLarge) and method not in _MAY_BE_LARGE:
            error = SourceUnavailable(error.message, hint="It is asked again.")
        return CallRefused(error, failure.code)

    def _error(self, failure: Failure, response: requests.Response) -> SourceError:
        error = classify(
            failure.code,
            hidden(failure.message, self._secrets),
            data=failure.data,
            http_status=response.status_code,
            retry_after=_seconds(response.headers.get("Retry-After")),
        )
        error.message = f"{self.name}: {hidden(error.message, self._secrets)}"
        return error

    def _harmless(self, error: BaseException) -> BaseException:
        """The vendor's exception as a cause, without the address that its text and its own causes
        carry."""
        error.args = (hidden(str(error), self._secrets),)
        error.__cause__ = error.__context__ = None
        return error


def _seconds(retry_after: str | None) -> float | None:
    """A Retry-After header (RFC 9110, section 10.2.3), which holds seconds or a date."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        pass
    else:
        return seconds if 0 <= seconds < float("inf") else None
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time())
    except (ValueError, OverflowError, OSError):  # a date outside of the calendar
        return None
