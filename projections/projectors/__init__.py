"""What users write: the base class of every projector. One file beside this one is one projector."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol, TypeVar

import msgspec

from projections.decoding.handlers import check_methods
from projections.errors import ProjectorError
from projections.values.integers import Integer256
from projections.values.kinds import fields_of, members, plain

__all__ = ["Counts", "Documents", "Follows", "Integer256", "Invariant", "Projector", "handles"]

Document = TypeVar("Document", bound=msgspec.Struct)
Handler = TypeVar("Handler", bound=Callable[..., None])

INDEX_NAME = 200
"""Letters of an indexed field's name: it stands beside value and key in each entry of the index."""


class Documents(Protocol[Document]):
    """The projection's documents, as a handler sees them. Everything it puts is seen at once."""

    def get(self, key: str) -> Document | None:
        """The document under `key`, or None."""
        ...

    def put(self, key: str, document: Document) -> None:
        """Sets the document under `key`. Documents are frozen: put a changed copy (`copy.replace`
        or `msgspec.structs.replace`). Where a value does not fit its field the event has failed when it
        ends (`ValueRefused`), as if its handler had raised that."""
        ...

    def delete(self, key: str) -> None:
        """Removes the document under `key`, if there is one."""
        ...

    def find(self, field: str, value: str) -> list[str]:
        """The keys of all documents whose indexed `field` is `value`, ascending."""
        ...


class Counts(msgspec.Struct, frozen=True):
    """Always: `field` of a document is how many documents have its key in their field `of`."""

    field: str
    of: str


class Follows(msgspec.Struct, frozen=True):
    """Always: `field` of a document is what the document that its field `link` names has in `takes`.

    Null where `link` is null, or names no document.
    """

    field: str
    link: str
    takes: str


Invariant = Counts | Follows


def handles(signature: str) -> Callable[[Handler], Handler]:
    """Declares the event that a method of a projector handles, by its human-readable signature.

    The parameter names are the handler's roles: a contract that names them otherwise is mapped in the
    configuration. A parameter the contract's event does not have at all is None.
    """

    def declare(method: Handler) -> Handler:
        method.__chainfold_handles__ = signature  # type: ignore[attr-defined]
        return method

    return declare


class Projector:
    """A pure fold over canonical logs: same logs, same documents. Subclass it, one class a file.

    `document` is the published document, a frozen `msgspec.Struct`; `key` the field that holds its key.
    `index` names fields for `Documents.find`; `links` fields that hold keys of other documents that
    handlers will want (they are loaded together). `touched` names a field set to the block's time
    whenever an event changed anything else; `dates` the fields that are times in seconds.
    `addresses` are the fields that hold addresses, the key perhaps among them: the HTTP API takes these
    in any case, and refuses other text. `mongo_indexes` are indexes for the application's queries,
    `redis_fields` what of a document goes into a Redis hash (empty: all of it). `invariants` are what
    `verify` holds the documents to, in the fold and in MongoDB. Raise `version` when the meaning changes
    where the code does not show it.
    """

    document: ClassVar[type[msgspec.Struct]]
    key: ClassVar[str]
    index: ClassVar[tuple[str, ...]] = ()
    links: ClassVar[tuple[str, ...]] = ()
    touched: ClassVar[str | None] = None
    dates: ClassVar[tuple[str, ...]] = ()
    addresses: ClassVar[tuple[str, ...]] = ()
    mongo_indexes: ClassVar[tuple[str, ...]] = ()
    redis_fields: ClassVar[tuple[str, ...]] = ()
    invariants: ClassVar[tuple[Invariant, ...]] = ()
    version: ClassVar[int] = 1

    def keys(self, event: Any) -> Iterable[str]:
        """The keys of the documents that `event` will want, so that a batch loads them in one go."""
        return ()

    def finds(self, event: Any, get: Callable[[str], Any]) -> Iterable[tuple[str, str]]:
        """The (field, value) that `event` will look for with `find`, so that a batch asks for them in one go.
        `get` gives documents as they are before the batch: where they say that nothing will be found, or
        looked for, leave it out."""
        return ()

    @classmethod
    def handlers(cls) -> dict[str, str]:
        """Method name to event signature, in the order of definition."""
        found: dict[str, str] = {}
        for base in reversed(cls.__mro__):
            for name, value in vars(base).items():
                signature = getattr(value, "__chainfold_handles__", None)
                if signature is not None:
                    found[name] = signature
        return found

    @classmethod
    def check(cls) -> None:
        """Raises `ProjectorError` for a class that cannot be run, naming what is wrong with it."""
        name = cls.__name__
        document = getattr(cls, "document", None)
        if not (isinstance(document, type) and issubclass(document, msgspec.Struct)):
            raise ProjectorError(f"{name}.document must be a msgspec.Struct.")
        if not document.__struct_config__.frozen:
            raise ProjectorError(
                f"{document.__name__} must be frozen: class {document.__name__}(Struct, frozen=True).",
                hint="The before-images that a reorg restores would change under the fold otherwise.",
            )
        fields = document.__struct_fields__
        named = [
            getattr(cls, "key", None),
            *cls.index,
            *cls.links,
            cls.touched,
            *cls.dates,
            *cls.addresses,
            *cls.mongo_indexes,
            *cls.redis_fields,
            *(name for item in cls.invariants for name in msgspec.structs.astuple(item)),
        ]
        for field in named:
            if field is not None and field not in fields:
                raise ProjectorError(
                    f"{name} names the field {field}, which {document.__name__} does not have."
                )
        kinds = fields_of(document)
        if getattr(cls, "key", None) is None:
            raise ProjectorError(f"{name}.key must name the field that holds the document's key.")
        roles: tuple[tuple[str, type, tuple[str | None, ...]], ...] = (
            ("key", str, (cls.key,)),
            ("links", str, cls.links),
            ("touched", int, (cls.touched,)),
            ("dates", int, cls.dates),
            ("addresses", str, cls.addresses),
        )
        for what, wanted, fields_named in roles:
            for field in fields_named:
                if field is not None and wanted not in members(kinds[field]):
                    raise ProjectorError(
                        f"{name}.{what} names {field}, which must be {wanted.__name__}.",
                        hint=f"Declare {document.__name__}.{field}: {wanted.__name__}.",
                    )
        for item in cls.invariants:
            if isinstance(item, Counts) and int not in members(kinds[item.field]):
                raise ProjectorError(
                    f"{name}.invariants: {item.field} counts documents, so it must be int.",
                    hint=f"Declare {document.__name__}.{item.field}: int.",
                )
        for field in cls.index:
            if plain(kinds[field]) is None or len(field) > INDEX_NAME:
                raise ProjectorError(
                    f"{name}.index names {field}, which is not plain text, a number or a bool, or "
                    f"whose name has more than {INDEX_NAME} letters.",
                    hint="Keep what is looked for in a field of its own.",
                )
        if not cls.handlers():
            raise ProjectorError(f"{name} handles no event.", hint="Decorate a method with @handles.")
        check_methods(cls, cls.handlers())
