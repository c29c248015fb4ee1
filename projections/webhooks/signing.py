"""The signatures of a webhook: Standard Webhooks, and the header from before it. Pure.

Source: https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md, version 1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"


def headers(secret: str, body: bytes, message_id: str, *, at: int) -> dict[str, str]:
    """What proves that `body` is ours, sent at second `at`; a message keeps its id at each attempt."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": standard_signature(secret, body, message_id, at=at),
        "Chainfold-Signature": signature(secret, body, at=at),
    }


def standard_signature(secret: str, body: bytes, message_id: str, *, at: int) -> str:
    """`v1,...`: the HMAC-SHA256, in base64, of `id.seconds.body`."""
    mac = hmac.new(key(secret), f"{message_id}.{at}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(mac.digest()).decode()}"


def signature(secret: str, body: bytes, *, at: int) -> str:
    """`t=...,v1=...`: the HMAC-SHA256, in hex, of the time in seconds, a full stop, and the body. The key is
    the text of the secret, `whsec_` included: receivers from before Standard Webhooks check this header."""
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={mac.hexdigest()}"


def key(secret: str) -> bytes:
    """The bytes that a secret stands for: what the base64 after `whsec_` holds, or the text as it is."""
    if not secret.startswith(PREFIX):
        return secret.encode()
    encoded = secret.removeprefix(PREFIX).rstrip("=")
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True) or secret.encode()
    except binascii.Error:  # a text that only begins so was a secret before, and still is
        return secret.encode()
