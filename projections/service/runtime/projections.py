"""The projections of a configuration: each projector bound to the events of its contracts."""

from __future__ import annotations

from collections.abc import Iterator

from projections.decoding.meaning import Declaration
from projections.errors import ConfigurationError
from projections.fold.fold import Projection
from projections.projectors import Projector
from projections.routing.routes import bind
from projections.routing.ways import Bound, watches, ways
from projections.service.config import settings
from projections.service.config.tables import From
from projections.service.runtime.fingerprint import fingerprint, former_fingerprint
from projections.service.runtime.projectors import loaded
from projections.webhooks import fitted


def projection(
    config: settings.Config, name: str, chosen: settings.ProjectionSettings
) -> tuple[Projection, tuple[Bound, ...]]:
    where = f"projections.{name}"
    projector = loaded(chosen.projector, f"{where}.projector", folder=config.folder)
    projector_type = type(projector)
    for place, hook in enumerate(chosen.webhooks):
        fitted(hook.rule, projector_type.document, f"{where}.webhook[{place}].when")
    sources = chosen.sources
    chain = config.contracts[sources[0].contract].chain
    bound = tuple(item for source in sources for item in _bound(config, source, projector, where))
    if not bound:
        raise ConfigurationError(
            f"{where}: none of its contracts' events fits a handler of {projector_type.__name__}.",
            hint="Map the contract's parameter names with roles = { ... }.",
        )
    made = Projection(
        name=name,
        chain_id=config.chains[chain].chain_id,
        projector=projector,
        routes=ways(config.meanings[chain], bound, where=where),
        watches=watches(bound),
        fingerprint=fingerprint(projector_type, config, chosen, bound),
        former=(former_fingerprint(projector_type, config, chosen, bound),),
        follow=chosen.follow,
        poison=chosen.poison,
        rebuild=chosen.rebuild,
        undo=chosen.undo,
    )
    return made, bound


def _bound(config: settings.Config, source: From, projector: Projector, where: str) -> Iterator[Bound]:
    """The routes of one entry of `from`, each with the declaration that it is of."""
    contract = config.contracts[source.contract]
    for route in bind(
        projector,
        addresses=contract.addresses,
        events=[e for e in contract.events if not source.events or e.name in source.events],
        roles=source.roles,
        where=f"{where}.from.{source.contract}",
    ):
        declared = Declaration(
            source.contract,
            route.kind.address,
            route.decoder.event,
            contract.start_block or 0,
            contract.end_block,
        )
        yield Bound(route, declared)
