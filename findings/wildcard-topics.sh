#!/usr/bin/env bash
# "Any topic" can be written in several ways in the filter of eth_getLogs, and three local nodes read them differently.
# What one of them calls a wildcard leaves out a log without topics, all logs, or none, on the others, without an error.
#
# Seen on anvil 1.7.1, Ganache 7.9.2, Hardhat 2.29.1 (npm), 2026-12-01. A chain holds one log without topics and one
# whose only topic is 7; the answers, by the number of topics of each log found:
#   topics              anvil    Ganache   Hardhat
#   []                  0,1      0,1       0,1
#   [null]              0,1      1         1
#   [[]]                0,1      1         none
#   [null, null]        0,1      none      none
#   [[7, null]]         0,1      1         an error
# anvil ignores trailing nulls, the two others take each place as "there must be a topic here"; an empty list of
# choices is "any" to two and "nothing fits" to the third. A program that wants everything sends no `topics` at all.
set -euo pipefail
folder=$(mktemp -d)
nodes=()
trap 'kill "${nodes[@]}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --ignore-scripts --no-audit --no-fund @foundry-rs/anvil@1.7.1 ganache@7.9.2 hardhat@2.29.1
echo 'module.exports = { solidity: "0.8.20" }' >hardhat.config.js
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
anvil=$(port)
ganache=$(port)
hardhat=$(port)
node_modules/.bin/anvil --port "$anvil" --silent &
nodes+=($!)
node node_modules/ganache/dist/node/cli.js --port "$ganache" --quiet >/dev/null &
nodes+=($!)
HARDHAT_DISABLE_TELEMETRY_PROMPT=true node node_modules/hardhat/internal/cli/bootstrap.js node --port "$hardhat" >/dev/null &
nodes+=($!)

cat >ask.mjs <<'JS'
const [name, port] = process.argv.slice(2)
const wait = (ms) => new Promise((done) => setTimeout(done, ms))
const ask = async (method, ...params) => {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  const headers = { 'content-type': 'application/json' }
  return (await fetch(`http://127.0.0.1:${port}`, { method: 'POST', headers, body })).json()
}
for (let tries = 0; tries < 100; tries++) {
  try { await ask('eth_chainId'); break } catch { await wait(300) }
}
const [from] = (await ask('eth_accounts')).result
// Code that runs once: LOG0 without data, then LOG1 with the topic 7.
const { result: hash } = await ask('eth_sendTransaction', { from, gas: '0x30000', data: '0x60006000a0600760006000a1' })
for (let tries = 0; tries < 100 && !(await ask('eth_getTransactionReceipt', hash)).result; tries++) await wait(100)
const seven = '0x' + '7'.padStart(64, '0')
const filters = { '[]': [], '[null]': [null], '[[]]': [[]], '[null, null]': [null, null], '[[7, null]]': [[seven, null]] }
for (const [written, topics] of Object.entries(filters)) {
  const { result, error } = await ask('eth_getLogs', { fromBlock: '0x0', toBlock: 'latest', topics })
  console.log(`${name} ${written}: ${error ? 'error' : result.map((log) => log.topics.length).join(',') || 'none'}`)
}
JS
{ node ask.mjs anvil "$anvil"; node ask.mjs ganache "$ganache"; node ask.mjs hardhat "$hardhat"; } | tee seen
diff - seen <<'EXPECTED'
anvil []: 0,1
anvil [null]: 0,1
anvil [[]]: 0,1
anvil [null, null]: 0,1
anvil [[7, null]]: 0,1
ganache []: 0,1
ganache [null]: 1
ganache [[]]: 1
ganache [null, null]: none
ganache [[7, null]]: 1
hardhat []: 0,1
hardhat [null]: 1
hardhat [[]]: none
hardhat [null, null]: none
hardhat [[7, null]]: error
EXPECTED
echo "as described"
