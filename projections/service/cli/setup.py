"""The commands before the first sync: init, check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from eventstore.errors import ChainfoldError
from eventstore.secret import public
from projections.errors import ConfigurationError
from projections.service import config as settings
from projections.service.cli.app import Json, app, configuration, options, out, print_json
from projections.service.wiring import Plan

NOWHERE = "0x" + "0" * 40


@app.command()
def init(
    *,
    rpc: Annotated[str, typer.Option(help="The node's URL.")] = "http://127.0.0.1:8545",
    address: Annotated[str, typer.Option(help="The contract whose events are read.")] = NOWHERE,
    chain_id: Annotated[int | None, typer.Option(help="Default: what the node says, else 1.")] = None,
) -> None:
    """Write a commented chainfold.toml."""
    target = options.config or settings.DEFAULT
    if target.exists():
        raise ConfigurationError(f"{target} is there already.", hint="Name another with --config.")
    settings.address(address, "--address")
    note = ""
    if chain_id is None:
        from eventstore.sources.rpc import RpcSource

        source = RpcSource(rpc, timeout=5.0)
        try:
            chain_id = source.identity().chain_id
        except ChainfoldError as error:
            chain_id, note = 1, f"chain_id = 1 is a guess, the node did not say: {error.message}"
        finally:
            source.close()
    try:
        target.write_text(settings.template(rpc=rpc, chain_id=chain_id, contract=address))
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written: {error.strerror}.") from error
    out().print(f"Wrote {target}.")
    if note:
        out().print(note)
    if address == NOWHERE:
        out().print("Next: set the contract's address in it, then `chainfold check`, `chainfold sync`.")
    else:
        out().print("Next: `chainfold check`, then `chainfold sync`.")


@app.command()
def check(*, as_json: Json = False) -> None:
    """What would fail, before it does.

    Tries the configuration, the events, every node, the store and the sinks.
    """
    from projections.service.migrate import ensure

    config = configuration()
    plan = Plan(config)
    results: list[tuple[str, ChainfoldError | None]] = [("configuration", None)]
    try:
        results.append(_tried(f"store {public(config.store.url)}", lambda: ensure(plan.store)))
        for name, chain in config.chains.items():
            for url in chain.rpc:
                results.append(_tried(f"chain {name} {public(url)}", lambda u=url, c=chain: _node(u, c)))  # type: ignore[misc]
        for name in config.projections:
            results.append(_tried(f"sinks of {name}", lambda n=name: _sinks(plan, n)))  # type: ignore[misc]
        for place, url in enumerate(config.alerts.urls):
            results.append(_tried(f"alerts.urls[{place}]", lambda u=url, p=place: _address(u, p)))  # type: ignore[misc]
    finally:
        plan.close()
    if as_json:
        print_json(
            [{"name": name, "ok": error is None, "error": str(error or "")} for name, error in results]
        )
    else:
        for name, error in results:
            out().print(f"{'ok  ' if error is None else 'FAIL'}  {name}{f': {error}' if error else ''}")
    if any(error for _, error in results):
        raise typer.Exit(1)


def _tried(name: str, act: Callable[[], None]) -> tuple[str, ChainfoldError | None]:
    try:
        act()
    except ChainfoldError as error:
        return name, error
    return name, None


def _node(url: str, chain: settings.Chain) -> None:
    from eventstore.sources.rpc import RpcSource

    source = RpcSource(url, finality=chain.finality)
    try:
        served = source.identity().chain_id
        if served != chain.chain_id:
            raise ConfigurationError(f"it serves chain {served}, the configuration says {chain.chain_id}.")
        source.head()
    finally:
        source.close()


def _address(url: str, place: int) -> None:
    """Only whether Apprise knows it: `chainfold alerts test` sends a message."""
    from projections.service.delivery import Address

    Address(url, place=place)


def _sinks(plan: Plan, projection: str) -> None:
    for sink in plan.sinks(projection):
        try:
            sink.open()
        finally:
            sink.close()
