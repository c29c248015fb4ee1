#!/usr/bin/env bash
# A log's data holds 32-byte words; nothing but the contract's own code keeps a word within its declared type, so a
# contract in assembly may emit the word 256 for a uint8. Four decoders give four answers, some of them a value that
# the type does not have.
#
# Seen on viem 2.57.20, ethers 6.17.0, web3 4.16.0 (npm), eth-abi 6.0.0 (PyPI), 2026-12-01:
#   uint8 256    viem 256 (no uint8 is 256)    ethers 0 (wraps)       web3, eth-abi: an error
#   int8 128     viem 128 (no int8 is 128)     ethers -128 (wraps)    web3, eth-abi: an error
#   bool 2       viem: an error                ethers true            web3, eth-abi: an error
# Documents that two services fold from one log with two of these libraries differ without any error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --ignore-scripts --no-audit --no-fund viem@2.57.20 ethers@6.17.0 web3@4.16.0
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check "eth-abi==6.0.0"

cat >words.mjs <<'JS'
import { decodeAbiParameters } from 'viem'
import { AbiCoder } from 'ethers'
import { Web3 } from 'web3'
const word = (n) => '0x' + BigInt(n).toString(16).padStart(64, '0')
const tried = (decode) => { try { return String(decode()) } catch { return 'error' } }
for (const [type, n] of [['uint8', 256], ['int8', 128], ['bool', 2]]) {
  const viem = tried(() => decodeAbiParameters([{ type }], word(n))[0])
  const ethers = tried(() => AbiCoder.defaultAbiCoder().decode([type], word(n))[0])
  const web3 = tried(() => new Web3().eth.abi.decodeParameter(type, word(n)))
  console.log(`${type} ${n}: viem ${viem}, ethers ${ethers}, web3 ${web3}`)
}
JS
cat >words.py <<'PY'
from eth_abi import decode
from eth_abi.exceptions import DecodingError
for type_, number in (("uint8", 256), ("int8", 128), ("bool", 2)):
    try:
        print(f"{type_} {number}: eth-abi {decode([type_], number.to_bytes(32))[0]}")
    except DecodingError:
        print(f"{type_} {number}: eth-abi error")
PY
{ node words.mjs; python/bin/python words.py; } | tee seen
diff - seen <<'EXPECTED'
uint8 256: viem 256, ethers 0, web3 error
int8 128: viem 128, ethers -128, web3 error
bool 2: viem error, ethers true, web3 error
uint8 256: eth-abi error
int8 128: eth-abi error
bool 2: eth-abi error
EXPECTED
echo "as described"
