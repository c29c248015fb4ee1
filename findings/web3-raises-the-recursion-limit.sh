#!/usr/bin/env bash
# Importing web3 changes a limit of the whole interpreter: py_ecc, which web3 brings through eth-keyfile, sets
# Python's recursion limit to 100,000 when it is imported. Every library of the process that relies on that limit to
# end a recursion (decoders of JSON and YAML, template engines, deep comparisons) has another one from then on.
#
# Seen on web3 8.0.0 and py_ecc 8.0.0 (PyPI), 2026-12-01: 1000 before `import web3`, 100000 after it.
# A program puts it back right after the import.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check "web3==8.0.0" "py_ecc==8.0.0"
python/bin/python - <<'PY' | tee seen
import sys
print("before:", sys.getrecursionlimit())
import web3
print("after:", sys.getrecursionlimit())
PY
diff - seen <<'EXPECTED'
before: 1000
after: 100000
EXPECTED
echo "as described"
