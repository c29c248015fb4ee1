"""MongoDB: `[projections.NAME.mongo]` and `[mongo]`. The sink itself is in `sink`."""

from __future__ import annotations

from msgspec import field

from projections.errors import ConfigurationError
from projections.sinks import Sink
from projections.sinks.kinds import SinkKind, SinkRequest, SinkTable


class MongoSettings(SinkTable, frozen=True):
    """`[mongo]`"""

    url: str = "embedded"
    database: str = "chainfold"


class MongoTarget(SinkTable, frozen=True):
    """A projection's `mongo`; `fields` renames ours to the application's."""

    collection: str
    fields: dict[str, str] = field(default_factory=dict)


class MongoKind(SinkKind):
    """Documents in a collection, which may be the application's own."""

    name = "mongo"
    table = MongoTarget
    server = MongoSettings

    def checked(self, table: MongoTarget, where: str) -> MongoTarget:
        if not table.collection:
            raise ConfigurationError(f"{where}.collection is empty.")
        return table

    def place(self, settings: MongoTarget) -> tuple[str, str]:
        return "collection", settings.collection

    def make(self, settings: MongoTarget, request: SinkRequest) -> Sink:
        from projections.sinks.mongo.sink import PATIENCE, MongoSink

        server: MongoSettings = request.server
        return MongoSink(
            server.url,
            database=server.database,
            collection=settings.collection,
            key=request.key,
            fields=request.fields,
            dates=request.dates,
            wide=request.wide,
            indexes=request.projector.mongo_indexes,
            rename=settings.fields,
            patience=PATIENCE if request.patience is None else request.patience,
        )
