#!/usr/bin/env bash
# `indexed` is not part of an event's topic: ERC-20's Transfer (value in the data) and ERC-721's (tokenId in a topic)
# share topic 0, and an address that was upgraded from one to the other has logs of both. An ABI may name both; which
# declaration reads a log can be recognised by the number of its topics.
#
# Seen on viem 2.57.20 and ethers 6.17.0 (npm), 2026-12-01: with both declarations in one ABI
#   viem parseEventLogs   reads both logs, in any order of the ABI
#   viem decodeEventLog   takes the first declaration with that topic only, and raises for the other log
#   ethers Interface      the same: parseLog raises for the log whose declaration comes second
# So two functions of one library disagree about what can be read, and the order of the ABI decides.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --ignore-scripts --no-audit --no-fund viem@2.57.20 ethers@6.17.0

cat >layouts.mjs <<'JS'
import { decodeEventLog, parseEventLogs, toEventSelector } from 'viem'
import { Interface } from 'ethers'
const word = (n) => '0x' + BigInt(n).toString(16).padStart(64, '0')
const transfer = (last, indexed) => ({
  type: 'event', name: 'Transfer', anonymous: false,
  inputs: [
    { name: 'from', type: 'address', indexed: true },
    { name: 'to', type: 'address', indexed: true },
    { name: last, type: 'uint256', indexed },
  ],
})
const coin = transfer('value', false)
const token = transfer('tokenId', true)
const topic = toEventSelector('Transfer(address,address,uint256)')
const common = { address: '0x' + '11'.repeat(20), blockNumber: 1n }
const logs = {
  coin: { ...common, topics: [topic, word(1), word(2)], data: word(7), logIndex: 0 },
  token: { ...common, topics: [topic, word(1), word(2), word(7)], data: '0x', logIndex: 1 },
}
const tried = (read) => { try { read(); return 'read' } catch { return 'raises' } }
for (const [order, abi] of [['coin first', [coin, token]], ['token first', [token, coin]]]) {
  console.log(`${order}: parseEventLogs ${parseEventLogs({ abi, logs: Object.values(logs) }).length} of 2`)
  for (const [name, log] of Object.entries(logs)) {
    const viem = tried(() => decodeEventLog({ abi, ...log }))
    const ethers = tried(() => new Interface(abi).parseLog(log).args.length)
    console.log(`${order}, ${name} log: decodeEventLog ${viem}, Interface.parseLog ${ethers}`)
  }
}
JS
node layouts.mjs 2>/dev/null | tee seen
diff - seen <<'EXPECTED'
coin first: parseEventLogs 2 of 2
coin first, coin log: decodeEventLog read, Interface.parseLog read
coin first, token log: decodeEventLog raises, Interface.parseLog raises
token first: parseEventLogs 2 of 2
token first, coin log: decodeEventLog raises, Interface.parseLog raises
token first, token log: decodeEventLog read, Interface.parseLog read
EXPECTED
echo "as described"
