"""The manifest of a backup: what it holds, in which files, and what each of them must be.

Law: a backup is what `manifest.json` says. The file is replaced atomically, so it always describes one
moment. Its encoding is canonical and it holds its own digest, so any changed byte is detected.
"""

from __future__ import annotations

import os
import re
import stat
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eventstore import private_files
from eventstore.errors import BackupDamaged, BackupError

NAME = "manifest.json"
LONGEST = 16 << 20
"""Bytes of a manifest: enough for 50,000 files of 32 MiB each."""

LARGEST_FILE = 16 << 30
"""Bytes of a file. A dump closes one after the entry that brings it to `dump.FULL`."""

UNFINISHED = "unfinished.json"
"""A manifest of what a dump that was interrupted had done; no restore looks at it."""

FORMAT: Final = "chainfold-backup"
VERSION: Final = 1

_FILE = re.compile(r"(chain-\d+-entries-\d+-to-\d+|state-\d+)\.jsonl\.gz(\.partial)?")


class BackupFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the backup: its size in bytes, its sha256 in hex, and how many lines it holds."""

    name: str
    bytes: int
    sha256: str
    lines: int


class Segment(Struct, frozen=True, forbid_unknown_fields=True):
    """Consecutive entries of one chain, in one file; `logs` are those that they appended."""

    chain_id: int
    first_entry: int
    last_entry: int
    logs: int
    file: BackupFile


class BackedUpChain(Struct, frozen=True, forbid_unknown_fields=True):
    """A chain, up to its entry number `entries`, whose digest this is. Hashes are hex with 0x; the genesis
    is null where it was never seen."""

    chain_id: int
    genesis: str | None
    entries: int
    logs: int
    digest: str


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a backup holds: the store, the time (seconds since 1970), the chains and the files.

    The segments of a chain ascend without a hole, from entry 1 to the last.
    """

    format: Literal["chainfold-backup"] = FORMAT
    version: Literal[1] = VERSION
    store: str
    taken_at: int
    chains: list[BackedUpChain]
    segments: list[Segment]
    state: BackupFile | None
    seal: str = ""

    @property
    def files(self) -> list[BackupFile]:
        state = [] if self.state is None else [self.state]
        return [*(segment.file for segment in self.segments), *state]

    @property
    def logs(self) -> int:
        """Those that were ever appended."""
        return sum(segment.logs for segment in self.segments)

    def of(self, chain_id: int) -> list[Segment]:
        return [segment for segment in self.segments if segment.chain_id == chain_id]


class _Named(Struct):
    """What every version of the format has."""

    format: str = ""
    version: int = 0


def is_ours(name: str) -> bool:
    """Is a file of this name one that a dump writes?"""
    return bool(_FILE.fullmatch(name)) or name in (NAME, UNFINISHED, f"{NAME}.partial", ".lock")


def read(directory: Path, name: str = NAME) -> Manifest:
    """The manifest, held against its seal. Raises `BackupDamaged`, or `BackupError` where there is none or
    it is of a version that this program does not know."""
    path = directory / name
    try:
        with opened(path) as stream:
            raw = stream.read(LONGEST + 1)
    except FileNotFoundError:
        raise BackupError(
            f"{directory} holds no backup: there is no {name} in it.", hint="Name the directory of a backup."
        ) from None
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror}.") from error
    if len(raw) > LONGEST:
        raise damaged(path, f"it has more than {LONGEST:,} bytes, the most that a manifest may have")
    try:
        named = msgspec.json.decode(raw, type=_Named)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise damaged(path, "it is not a manifest") from error
    if (named.format, named.version) != (FORMAT, VERSION):
        raise BackupError(
            f"{path} is of the format {named.format or 'unknown'}, version {named.version}; this chainfold "
            f"reads {FORMAT}, version {VERSION}.",
            hint="Restore it with the chainfold that wrote it, or a newer one.",
        )
    try:
        found = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise damaged(path, f"it is not a manifest: {error}") from error
    if _rendered(found) != raw:
        raise damaged(path, "its text is not what its seal says")
    _check(path, found)
    return found


def opened(path: Path) -> BinaryIO:
    """A file of a backup, to be read. A pipe or a device never ends, or is waited for without end: raises
    `BackupDamaged` unless it is a regular file or a link to one."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise damaged(path, "it is not a regular file")
    return os.fdopen(handle, "rb")


def write(directory: Path, manifest: Manifest, name: str = NAME) -> None:
    """Replaces the manifest in one step that outlives a loss of power."""
    partial, path = directory / f"{NAME}.partial", directory / name
    with open(partial, "wb", opener=private_files.opener) as file:
        file.write(_rendered(manifest))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    settle(directory)


def settle(directory: Path) -> None:
    """Makes sure that the names in a directory are on disk as they are now."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def damaged(path: Path, how: str) -> BackupDamaged:
    return BackupDamaged(
        f"The backup is damaged: {path}: {how}.",
        hint="Nothing of it was used. Take another copy of the backup, or make a new one.",
    )


def _rendered(manifest: Manifest) -> bytes:
    """The one way in which a manifest is written; `seal` is the sha256 of the same with an empty seal."""
    blank = replace(manifest, seal="")
    return _text(replace(manifest, seal=sha256(_text(blank)).hexdigest()))


def _text(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def _check(path: Path, manifest: Manifest) -> None:
    """Names that lead nowhere else, and segments without a hole."""
    for file in manifest.files:
        if not _FILE.fullmatch(file.name):
            raise damaged(path, f"it names a file {file.name!r}, which no backup holds")
        if not 0 <= file.bytes <= LARGEST_FILE:
            most = f"at most {LARGEST_FILE:,}"
            raise damaged(path, f"{file.name} is said to have {file.bytes} bytes, and may have {most}")
    for chain in manifest.chains:
        end = 0
        for segment in manifest.of(chain.chain_id):
            if segment.first_entry != end + 1 or segment.last_entry < segment.first_entry:
                raise damaged(path, f"no file holds entry {end + 1} of chain {chain.chain_id}")
            end = segment.last_entry
        if end != chain.entries:
            raise damaged(path, f"no file holds entry {end + 1} of chain {chain.chain_id}")
