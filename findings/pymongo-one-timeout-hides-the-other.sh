#!/usr/bin/env bash
# The specification of client-side operation timeouts bounds the selection of a server by the smaller of
# serverSelectionTimeoutMS and what is left of timeoutMS. PyMongo takes timeoutMS alone: with one bound for whole
# operations an absent MongoDB is noticed only when that bound is over, however short the other one was set.
#
# Seen on PyMongo 4.20.1 (PyPI), 2026-12-01, with nothing listening: serverSelectionTimeoutMS=300 ends after 0.3 s;
# with timeoutMS=3000 beside it, after 3 s. A service that wants both keeps to the older options.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check "pymongo==4.20.1"
cat >timeouts.py <<'PY'
import socket
import time
from pymongo import MongoClient
from pymongo.errors import ServerSelectionTimeoutError

with socket.socket() as held:
    held.bind(("127.0.0.1", 0))  # bound and not listening: a connection is refused at once
    for options in ({"serverSelectionTimeoutMS": 300}, {"serverSelectionTimeoutMS": 300, "timeoutMS": 3000}):
        began = time.monotonic()
        with MongoClient("127.0.0.1", held.getsockname()[1], **options) as client:
            try:
                client.admin.command("ping")
            except ServerSelectionTimeoutError:
                long = time.monotonic() - began > 2
                print(f"{', '.join(options)}: after {'more' if long else 'less'} than 2 s")
PY
python/bin/python timeouts.py | tee seen
diff - seen <<'EXPECTED'
serverSelectionTimeoutMS: after less than 2 s
serverSelectionTimeoutMS, timeoutMS: after more than 2 s
EXPECTED
echo "as described"
