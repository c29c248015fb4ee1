"""Random journals against everything that is made of them, for as long as one likes: `make chaos`.

    python -m tests.properties.journals --seconds 60 --seed 1

What fails is printed with the seed that draws it again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

from hypothesis import HealthCheck, Phase, given, seed, settings

from eventstore.storage.store import Store
from projections.fold.fold import Projection
from projections.migrate import migrate
from projections.service.embedded.servers import EmbeddedMongo, EmbeddedRedis
from tests.properties.everywhere import (
    Story,
    World,
    held_by,
    projection_of,
    same_on_all,
    sinks_of,
    stories,
)
from tests.servers.mongo import Mongo
from tests.servers.postgres import database, running

TOGETHER = 10
"""Journals that are drawn with one seed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0: all held; 1 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    ends, drawn, done = time.monotonic() + options.seconds, options.seed, 0
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="chainfold-journals-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stores = [
            f"sqlite:///{folder / 'store.db'}",
            stack.enter_context(database(stack.enter_context(running()))),
        ]
        opened = [stack.enter_context(closing(Store(url))) for url in stores]
        for store in opened:
            migrate(store)
        mongo = stack.enter_context(EmbeddedMongo(folder / "mongo")).url
        redis = stack.enter_context(EmbeddedRedis(folder / "redis")).url
        projection = projection_of(folder)
        while time.monotonic() < ends:
            try:
                _try(drawn, opened, projection, lambda: Mongo(mongo, f"journals_{uuid4().hex}"), redis)
            except Exception as error:  # noqa: BLE001 - any failure is what is looked for
                print(f"seed {drawn} fails with {type(error).__name__}: {error}")
                return 1
            drawn, done = drawn + 1, done + TOGETHER
    print(f"seeds {options.seed} to {drawn - 1}: {done} journals")
    return 0


def _try(
    drawn: int, stores: Sequence[Store], projection: Projection, mongo: Callable[[], Mongo], redis: str
) -> None:
    @seed(drawn)
    @settings(
        max_examples=TOGETHER,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(story=stories())
    def holds(story: Story) -> None:
        worlds = [World(store, projection) for store in stores]
        same_on_all(worlds, story)
        held_by(
            worlds[0], sinks_of(worlds[0].projection.name, mongo(), redis), batch=1 + len(story.blocks) % 3
        )

    holds()


if __name__ == "__main__":
    sys.exit(main())
