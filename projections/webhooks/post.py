"""One attempt: a signed POST, and what its answer means. The one file that speaks HTTP to receivers."""

from __future__ import annotations

import math
import time
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import urljoin

import urllib3
from msgspec import Struct
from urllib3.exceptions import HTTPError

from eventstore.net.deadline import Deadlines
from eventstore.redaction import public, scrubbed, secrets_in
from projections.webhooks.signing import PREFIX, headers

TEMPORARY = frozenset({408, 421, 423, 425, 429})
"""Refusals below 500 that say nothing against the message."""

LONGEST_WAIT = 86_400.0
"""Seconds that a receiver may ask for, and get, before it is asked again."""

LONGEST_ANSWER = 4_096
"""Bytes that are read of an answer: its status decides, its words are only shown."""

SHOWN = 200
"""Characters of a refusal that are kept."""


class ReceiverAnswer(Struct, frozen=True):
    """`taken`; `failed`: later it may be; `refused`: hardly; `gone`: never. `after`: seconds asked for."""

    kind: Literal["taken", "failed", "refused", "gone"]
    reason: str = ""
    after: float = 0.0


class Target(Struct, frozen=True):
    """Where a rule's notifications go, and what they are signed with; `timeout` is in seconds and for the
    whole of one attempt."""

    url: str
    secret: str
    timeout: float = 10.0
    attempts: int = 30


class Post:
    """Sends to one target over kept connections; safe to share among threads.

    Certificates are checked, redirects not followed, and nothing is tried twice.
    """

    def __init__(self, target: Target, *, connections: int) -> None:
        self._target = target
        self._secrets = {target.secret, target.secret.removeprefix(PREFIX)} | secrets_in(target.url)
        self._pool = urllib3.PoolManager(maxsize=connections, block=True, cert_reqs="CERT_REQUIRED")
        self._deadlines = Deadlines()
        self._pool.pool_classes_by_scheme = self._deadlines.classes

    def send(self, body: bytes, idempotency_key: str) -> ReceiverAnswer:
        """POSTs it. Takes at most the target's timeout, regardless of the receiver."""
        with self._deadlines.exchange(self._target.timeout) as exchange:
            answer = self._sent(body, idempotency_key)
        if exchange.is_over:
            late = f"no whole answer within {self._target.timeout:g} seconds"
            return ReceiverAnswer("failed", f"{public(self._target.url)}: {late}")
        return answer

    def _sent(self, body: bytes, idempotency_key: str) -> ReceiverAnswer:
        try:
            answer = self._pool.request(
                "POST",
                self._target.url,
                body=body,
                headers={
                    "Content-Type": "application/json",
                    "User-Agent": "chainfold",
                    "Accept-Encoding": "identity",  # what unpacks to more than it is long is never unpacked
                    "Idempotency-Key": idempotency_key,
                    **headers(self._target.secret, body, idempotency_key, at=int(time.time())),
                },
                timeout=urllib3.Timeout(connect=self._target.timeout, read=self._target.timeout),
                pool_timeout=self._target.timeout,
                retries=False,
                redirect=False,
                preload_content=False,
            )
            rest = 1  # how much is left of an answer that breaks off is unknown
            try:
                start = answer.read(LONGEST_ANSWER, decode_content=False)
                rest = len(answer.read(1, decode_content=False)) if len(start) == LONGEST_ANSWER else 0
                said = "" if answer.headers.get("Content-Encoding") else start.decode(errors="replace")
            finally:
                if rest:
                    answer.close()  # a long answer is not read to its end
                answer.release_conn()
        except (HTTPError, OSError) as error:
            return ReceiverAnswer("failed", scrubbed(f"{public(self._target.url)}: {error}", self._secrets))
        if 300 <= answer.status < 400 and (target := answer.headers.get("Location")):
            said = f"redirects to {public(urljoin(self._target.url, target))}, which is not followed"
        return self._meaning(answer.status, answer.headers.get("Retry-After", ""), said)

    def close(self) -> None:
        self._pool.clear()
        self._deadlines.close()

    def _meaning(self, status: int, asked: str, said: str) -> ReceiverAnswer:
        shown = " ".join(said.split())[:SHOWN]
        reason = scrubbed(f"HTTP {status}{f': {shown}' if shown else ''}", self._secrets)
        if 200 <= status < 300:
            return ReceiverAnswer("taken")
        if status == 410:
            return ReceiverAnswer("gone", reason)
        if status >= 500 or status in TEMPORARY:
            return ReceiverAnswer("failed", reason, _seconds(asked))
        return ReceiverAnswer("refused", reason, _seconds(asked))


def _seconds(asked: str) -> float:
    """What `Retry-After` asks for: seconds or an HTTP date (RFC 9110, 10.2.3); 0 where it cannot be read."""
    try:
        wait = float(asked) if asked.strip().isdigit() else _until(asked)
    except (ValueError, TypeError):
        return 0.0
    return min(max(wait, 0.0), LONGEST_WAIT) if math.isfinite(wait) else 0.0


def _until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()
