"""One attempt: what is sent, and what an answer means."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import time

import pytest
from standardwebhooks import Webhook

from eventstore import clock
from projections.webhooks.courier import outcome
from projections.webhooks.outbox import Notification
from projections.webhooks.post import LONGEST_ANSWER, Post, ReceiverAnswer, Target
from projections.webhooks.signing import headers, signature
from tests.servers.hooks import SECRET, WHSEC, Answering, Receiver

BODY = b'{"key":"a"}'


@pytest.fixture
def post(hooks: Receiver) -> Iterator[Post]:
    made = Post(Target(hooks.url, SECRET, timeout=5.0), connections=2)
    yield made
    made.close()


def test_the_signature_is_the_hmac_of_time_and_body() -> None:
    """Computed with openssl: `printf '1700000000.{"key":"a"}' | openssl dgst -sha256 -hmac ...`."""
    assert signature(SECRET, BODY, at=1_700_000_000) == (
        "t=1700000000,v1=7959031defb7f429fd7b3392c7a65314d27daf8431844996adb7da2f237188be"
    )


@pytest.mark.parametrize(
    ("secret", "known_as"),
    [(WHSEC, WHSEC), (WHSEC.rstrip("="), WHSEC), (SECRET, WHSEC), ("whsec_not base64", b"whsec_not base64")],
    ids=["whsec", "unpadded", "text", "text that begins so"],
)
def test_a_library_of_standard_webhooks_takes_our_signature(secret: str, known_as: str | bytes) -> None:
    sent = headers(secret, BODY, "k1", at=int(time()))
    assert Webhook(known_as).verify(BODY, sent) == {"key": "a"}


def test_the_signature_of_standard_webhooks_is_that_of_its_specification() -> None:
    """The example of the specification's reference libraries."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    sent = headers(secret, body, "msg_p5jXN8AQM9LWM0D4loKWxJek", at=1614265330)
    assert sent["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_from_before_standard_webhooks_takes_a_secret_of_the_new_form() -> None:
    """The older header is made of the text of the secret, with any beginning."""
    made = signature(WHSEC, BODY, at=1_700_000_000)
    mac = hmac.new(WHSEC.encode(), b"1700000000." + BODY, hashlib.sha256).hexdigest()
    assert made == f"t=1700000000,v1={mac}"


def test_a_secret_of_the_new_form_is_shown_nowhere(hooks: Receiver) -> None:
    post = Post(Target(hooks.url, WHSEC, timeout=5.0), connections=1)
    hooks.take = lambda raw, headers, path: Answering(400, text=f"not {WHSEC.removeprefix('whsec_')}")  # type: ignore[method-assign]
    assert post.send(BODY, "k1").reason == "HTTP 400: not ..."
    post.close()


def test_what_is_taken_was_signed(post: Post, hooks: Receiver) -> None:
    assert post.send(BODY, "k1") == ReceiverAnswer("taken")
    assert [(call.idempotency_key, call.raw) for call in hooks.calls] == [("k1", BODY)]
    assert hooks.unsigned == 0


def test_another_secret_is_refused(hooks: Receiver) -> None:
    other = Post(Target(hooks.url, "another-secret-altogether"), connections=1)
    assert other.send(BODY, "k1").kind == "refused"
    other.close()
    assert hooks.calls == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, "taken"), (302, "refused"), (400, "refused"), (404, "refused"), (410, "gone"), (429, "failed"),
     (408, "failed"), (500, "failed"), (503, "failed")],
)  # fmt: skip
def test_an_answer_means(post: Post, hooks: Receiver, status: int, kind: str) -> None:
    hooks.answer = lambda _: Answering(status, {"Location": hooks.url})
    assert post.send(BODY, "k1").kind == kind
    assert len(hooks.calls) == 1  # no redirect was followed, nothing tried twice


def test_a_wait_that_is_asked_for_is_kept(post: Post, hooks: Receiver) -> None:
    for asked, least, most in (
        ("120", 120, 120),
        (formatdate(time() + 60, usegmt=True), 50, 60),
        ("soon", 0, 0),
        ("999999999", 86_400, 86_400),
    ):
        hooks.answer = lambda _, asked=asked: Answering(503, {"Retry-After": asked})  # type: ignore[misc]
        assert least <= post.send(BODY, "k1").after <= most


def test_a_refusal_is_kept_without_secrets_and_not_for_ever(post: Post, hooks: Receiver) -> None:
    hooks.answer = lambda _: Answering(400, text=f"no {SECRET} here " + "x" * 100_000)
    reason = post.send(BODY, "k1").reason
    assert reason.startswith("HTTP 400: no ... here xxx")
    assert len(reason) < 300
    hooks.answer = lambda _: Answering()
    assert post.send(BODY, "k1").kind == "taken"


def test_a_receiver_that_is_not_there_failed_and_its_address_shows_no_key() -> None:
    post = Post(Target("http://127.0.0.1:9/hook/s3cr3tk3y", SECRET, timeout=1.0), connections=1)
    answer = post.send(BODY, "k1")
    post.close()
    assert answer.kind == "failed"
    assert "s3cr3tk3y" not in answer.reason


def waiting(attempts: int) -> Notification:
    return Notification(1, "p", "r", "k", 1, "i", b"{}", "pending", attempts, 0, 0, None, "")


def test_what_failed_is_tried_again_later_and_later_and_then_is_dead() -> None:
    target = Target("http://x", SECRET, attempts=30)
    pauses = [
        (outcome(waiting(tries), ReceiverAnswer("failed", "no"), target).next_at - clock.now()) / 1e6
        for tries in range(29)
    ]
    assert 0.9 < pauses[0] <= 2 and 7 < pauses[3] <= 16 and 1790 < pauses[28] <= 3600
    assert outcome(waiting(29), ReceiverAnswer("failed", "no"), target).state == "dead"


def test_what_is_refused_is_dead_after_three_and_what_is_gone_at_once() -> None:
    target = Target("http://x", SECRET)
    states = [outcome(waiting(tries), ReceiverAnswer("refused", "no"), target).state for tries in range(3)]
    assert states == ["pending", "pending", "dead"]
    assert outcome(waiting(0), ReceiverAnswer("gone", "no"), target).state == "dead"


def test_a_wait_that_was_asked_for_is_not_cut_short() -> None:
    tried = outcome(waiting(0), ReceiverAnswer("failed", "no", after=600.0), Target("http://x", SECRET))
    assert 590 < (tried.next_at - clock.now()) / 1e6 <= 600


def test_of_an_answer_no_more_is_read_than_its_cap() -> None:
    """Nor is it unpacked. The receiver counts what it could send before it was hung up on."""
    sent = [0]
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            asked.append(self.headers["accept-encoding"])
            self.send_response(500)
            self.send_header("Content-Length", str(64 << 20))
            self.end_headers()
            with suppress(OSError):
                for _ in range(64):
                    self.wfile.write(b"word " * 200_000 + b"x" * 48_576)
                    sent[0] += 1

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    made = Post(Target(f"http://127.0.0.1:{server.server_port}/", SECRET, timeout=20.0), connections=1)
    try:
        answer = made.send(BODY, "k1")
    finally:
        made.close()
        server.shutdown()
        server.server_close()
    assert (answer.kind, answer.reason[:18]) == ("failed", "HTTP 500: word wor")
    assert len(answer.reason) < 2 * LONGEST_ANSWER
    assert sent[0] < 32
    assert asked == ["identity"]


def test_an_answer_that_is_packed_is_not_unpacked(post: Post, hooks: Receiver) -> None:
    hooks.answer = lambda _: Answering(500, {"Content-Encoding": "gzip"})
    assert post.send(BODY, "k1") == ReceiverAnswer("failed", "HTTP 500")
