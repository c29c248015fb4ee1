"""The event straight from a log's columns: one function, written out for each event as `dataclasses` does it.

A replay decodes every log there is. Walking a plan of parameters costs 2.1 microseconds a log, the written
out function 0.7. For the flagship event it is

    def decode(log, block):
        data = log.data
        if log.topic2 is None or log.topic3 is not None or len(data) < 32:
            return slow(log, block)
        w0 = log.topic1
        w1 = log.topic2
        w2 = number(data[0:32], "big")
        if not (w0[:12] == zeros12 and w1[:12] == zeros12):
            return slow(log, block)
        return make("0x" + w0[12:].hex(), "0x" + w1[12:].hex(), w2, block,
                    log.log_index, log.tx_hash, contract)

It only accepts: every log that it cannot take goes the slow road, which names what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from eth_abi.grammar import parse as parse_type

from eventstore.journal.reading import StoredBlock, StoredLog
from projections.decoding.event import Event
from projections.generated_code import define

Decode = Callable[[StoredLog, StoredBlock], Any]


def compile_decoder(
    event: Event, places: Sequence[int | None], make: Callable[..., Any]
) -> Callable[[str, Decode], Decode] | None:
    """A factory of the decoding function for this event; it takes a contract and the slow road. None if a
    parameter is not a single word. `places` say which value each parameter of the handler is, `make` makes
    the event."""
    words, tests, values, names = [], [], [], dict[str, Any](make=make, number=int.from_bytes)
    topic = offset = 0
    for place, item in enumerate(event.parameters):
        if item.indexed:
            topic += 1
            source = f"log.topic{topic}"
        else:
            source = f"data[{offset}:{offset + 32}]"
            offset += 32
        parts = _parts(item.type, place, names)
        if parts is None:
            return None
        read, test, value = parts
        words.append(read.format(source))
        tests += [test] if test else []
        values.append(value)
    missing = [f"log.topic{topic} is None"] if topic else []
    missing += [f"log.topic{topic + 1} is not None"] if topic < 3 else []
    missing += [f"len(data) < {offset}"] if offset else []
    given = [*("None" if place is None else values[place] for place in places), "block"]
    lines = [
        "def bound(contract, slow):",
        "    def decode(log, block):",
        "        data = log.data",
        f"        if {' or '.join(missing)}:" if missing else "        if False:",
        "            return slow(log, block)",
        *(f"        {line}" for line in words),
        f"        if not ({' and '.join(tests) or 'True'}):",
        "            return slow(log, block)",
        f"        return make({', '.join(given)}, log.log_index, log.tx_hash, contract)",
        "    return decode",
    ]
    bound: Callable[[str, Decode], Decode] = define("bound", lines, names, of=event.name)
    return bound


def _parts(kind: str, place: int, names: dict[str, Any]) -> tuple[str, str, str] | None:
    """Of one parameter: the line that reads it from a word, the test that it must pass, its value.

    They say what `projections.decoding.decoder` says word by word.
    """
    parsed = parse_type(kind)
    if parsed.arrlist or hasattr(parsed, "components"):
        return None
    word = f"w{place}"
    match parsed.base:
        case "address":
            names["zeros12"] = bytes(12)
            return f"{word} = {{}}", f"{word}[:12] == zeros12", f'"0x" + {word}[12:].hex()'
        case "bool":
            return f'{word} = number({{}}, "big")', f"{word} < 2", f"{word} == 1"
        case "uint":
            test = "" if parsed.sub == 256 else f"{word} < {1 << parsed.sub}"
            return f'{word} = number({{}}, "big")', test, word
        case "int":
            bound = 1 << (parsed.sub - 1)
            test = "" if parsed.sub == 256 else f"{-bound} <= {word} < {bound}"
            return f'{word} = number({{}}, "big", signed=True)', test, word
        case "bytes" | "function":
            width = parsed.sub if parsed.base == "bytes" else 24
            if not width:
                return None
            names[f"zeros{32 - width}"] = bytes(32 - width)
            return f"{word} = {{}}", f"{word}[{width}:] == zeros{32 - width}", f"{word}[:{width}]"
    return None
