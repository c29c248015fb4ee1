"""The command before everything else: init."""

from __future__ import annotations

from typing import Annotated

import typer

from eventstore import private_files
from eventstore.errors import ChainfoldError
from projections.errors import ConfigurationError
from projections.service.cli.app import app, options
from projections.service.config.loader import DEFAULT
from projections.service.config.template import template
from projections.service.config.values import parse_address
from projections.service.terminal.output import out

NOWHERE = "0x" + "0" * 40


@app.command()
def init(
    *,
    rpc: Annotated[str, typer.Option(help="The node's URL.")] = "http://127.0.0.1:8545",
    address: Annotated[str, typer.Option(help="The contract whose events are read.")] = NOWHERE,
    chain_id: Annotated[int | None, typer.Option(help="Default: what the node says, else 1.")] = None,
) -> None:
    """Write a commented chainfold.toml."""
    target = options.config or DEFAULT
    if target.exists():
        raise ConfigurationError(f"{target} is there already.", hint="Name another with --config.")
    parse_address(address, "--address")
    note = ""
    if chain_id is None:
        from eventstore.sources.rpc.source import RpcSource

        source = RpcSource(rpc, timeout=5.0)
        try:
            chain_id = source.identity().chain_id
        except ChainfoldError as error:
            chain_id, note = 1, f"chain_id = 1 is a guess, the node did not say: {error.message}"
        finally:
            source.close()
    try:
        with open(target, "w", encoding="utf-8", opener=private_files.opener) as file:
            file.write(template(rpc=rpc, chain_id=chain_id, contract=address))
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written: {error.strerror}.") from error
    out().print(f"Wrote {target}.")
    if note:
        out().print(note)
    if address == NOWHERE:
        out().print("Next: set the contract's address in it, then `chainfold check`, `chainfold sync`.")
    else:
        out().print("Next: `chainfold check`, then `chainfold sync`.")
