#!/usr/bin/env bash
# A BSON date is 64 bits of milliseconds. SecantusDB, a MongoDB-compatible server, refuses a date from the year 10000
# on, and with it the whole unordered bulk: no other write of the command is made, and the error names no index, where
# an unordered bulk answers for each write. A uint48 "never" of a contract, shown as a date, is such a date.
#
# Seen on SecantusDB 0.7.0b3 with PyMongo 4.20.1 (PyPI), 2026-12-01: of three upserts, the second with
# 10000-01-01, not one is stored; the exception is an OperationFailure, not a BulkWriteError.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check "SecantusDB==0.7.0b3" "pymongo==4.20.1"
cat >dates.py <<'PY'
from bson.datetime_ms import DatetimeMS
from pymongo import MongoClient, UpdateOne
from pymongo.errors import PyMongoError
from secantus import SecantusDBServer

YEAR_10000 = 253_402_300_800_000
server = SecantusDBServer(storage_path="data", port=0)
server.start()
with MongoClient("127.0.0.1", server.port, directConnection=True) as client:
    for name, second in (("in 9999", YEAR_10000 - 1), ("in 10000", YEAR_10000)):
        dates = (0, second, 0)
        collection = client.db[name]
        try:
            collection.bulk_write(
                [UpdateOne({"_id": n}, {"$set": {"at": DatetimeMS(at)}}, upsert=True) for n, at in enumerate(dates)],
                ordered=False,
            )
            outcome = "written"
        except PyMongoError as error:
            outcome = type(error).__name__
        print(f"{name}: {outcome}, {collection.count_documents({})} of 3 stored")
server.stop()
PY
python/bin/python dates.py 2>log | tee seen
diff - seen <<'EXPECTED'
in 9999: written, 3 of 3 stored
in 10000: OperationFailure, 0 of 3 stored
EXPECTED
echo "as described"
