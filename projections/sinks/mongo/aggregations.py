"""What MongoDB is asked to find by itself: documents that break what the projector says is always so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from projections.projectors import Counts, Follows, Invariant
from projections.sinks.mongo.names import Names

Stage = dict[str, Any]


def breaking(item: Invariant, names: Names, collection: str, there: Mapping[str, Any]) -> list[Stage]:
    """The pipeline whose results are the documents that break `item`: `key`, what is `held`, what is `right`.

    `there` matches the documents that are ours. Each document is joined with others by an indexed field.
    """
    theirs = names.theirs
    match item:
        case Counts(field, of):
            return [
                {"$match": there},
                _join(collection, names.key, theirs[of], there),
                {"$project": {"key": f"${names.key}", "held": f"${theirs[field]}", "right": {"$size": "$c"}}},
                {"$match": {"$expr": {"$ne": ["$held", "$right"]}}},
            ]
        case Follows(field, link, takes):
            held, right = {"$ifNull": ["$held", None]}, {"$ifNull": ["$right", None]}
            return [
                {"$match": there},
                _join(collection, theirs[link], names.key, there),
                {"$unwind": {"path": "$c", "preserveNullAndEmptyArrays": True}},
                {
                    "$project": {
                        "key": f"${names.key}",
                        "held": f"${theirs[field]}",
                        "right": f"$c.{theirs[takes]}",
                    }
                },
                {"$match": {"$expr": {"$ne": [held, right]}}},
            ]


def broken(item: Invariant, held: Mapping[str, Any]) -> str:
    """How one of those documents breaks it."""
    said = "null" if held.get("held") is None else held["held"]
    match item:
        case Counts(field, of):
            return f"{field} is {said} in MongoDB, and {held['right']} documents there have it as {of}"
        case Follows(field, link, takes):
            right = "null" if held.get("right") is None else held["right"]
            return f"{field} is {said} in MongoDB, and {takes} of its {link} there is {right}"


def _join(collection: str, local: str, foreign: str, there: Mapping[str, Any]) -> Stage:
    return {
        "$lookup": {
            "from": collection,
            "localField": local,
            "foreignField": foreign,
            "pipeline": [{"$match": dict(there)}],
            "as": "c",
        }
    }
