"""Compressed files of lines: written beside their place and moved there when whole, held against their
digest when read.

gzip, because every system has had it for thirty years, and because members may stand one after the other in
one file: what is small is carried over into the next file as it is, and not compressed again.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from eventstore import private_files
from eventstore.backup.manifest import BackupFile, damaged, opened
from eventstore.errors import BackupError

LEVEL = 5
"""Of zlib: 1 packs registrations into 107 bytes a log, 5 into 99, 9 into 98 at twice the time."""

_PIECE = 1 << 20

LONGEST_LINE = 512 << 20
"""Bytes of a line, unpacked, with its end: a log takes less than the answer of a node that held it."""


class Writing:
    """A file that is being written. It is in its place after `finish`, and before that nowhere."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._partial = directory / f"{name}.partial"
        self._file = open(self._partial, "wb", opener=private_files.opener)  # noqa: SIM115 - closed by `finish`
        self._hash = sha256()
        self._packed: gzip.GzipFile | None = None
        self.bytes = 0
        self.lines = 0

    def carry(self, file: BackupFile) -> None:
        """Takes over all of another file, as it is. Raises `BackupDamaged` where that is not what it was."""
        for piece in pieces(self._directory, file):
            self.write(piece)
        self.lines = file.lines

    def add(self, data: bytes, lines: int) -> None:
        """Adds whole lines. Raises `BackupError` where one is longer than a restore reads."""
        if len(data) > LONGEST_LINE and max(map(len, data.splitlines(keepends=True))) > LONGEST_LINE:
            raise BackupError(
                f"A row takes more than {LONGEST_LINE:,} bytes as a line, the most that a restore reads.",
                hint="The backup is as it was before.",
            )
        if self._packed is None:
            self._packed = gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=self, mtime=0)
        self._packed.write(data)
        self.lines += lines

    def write(self, data: Any) -> int:
        """What the compression calls."""
        self._hash.update(data)
        self.bytes += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        """What the compression calls: nothing is to be seen before all is."""

    def finish(self, name: str) -> BackupFile:
        """Puts the file into its place, on disk."""
        if not self.bytes:
            self.add(b"", 0)  # no lines are a gzip file as well
        if self._packed is not None:
            self._packed.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._partial.replace(self._directory / name)
        return BackupFile(name, self.bytes, self._hash.hexdigest(), self.lines)

    def abandon(self) -> None:
        """Leaves nothing of it behind."""
        with suppress(OSError):  # what is written still would not have found room
            self._file.close()
        self._partial.unlink(missing_ok=True)


def pieces(directory: Path, file: BackupFile) -> Iterator[bytes]:
    """The bytes of a file; raises `BackupDamaged` where it is missing, or, at the end, not what it was."""
    path = directory / file.name
    found, size = sha256(), 0
    try:
        with opened(path) as stream:
            while size <= file.bytes and (piece := stream.read(_PIECE)):
                found.update(piece)
                size += len(piece)
                yield piece
    except FileNotFoundError:
        raise damaged(path, "the file is missing") from None
    except OSError as error:
        raise damaged(path, f"it cannot be read: {error.strerror}") from error
    if size != file.bytes:
        more = " or more" if size > file.bytes else ""
        raise damaged(path, f"it has {size:,} bytes{more} and should have {file.bytes:,}")
    if found.hexdigest() != file.sha256:
        raise damaged(path, "its bytes are not those that were written")


def lines(directory: Path, file: BackupFile) -> Iterator[bytes]:
    """The lines of a file; raises `BackupDamaged` where it cannot be unpacked, a line is longer than one may
    be, or there are more of them than the manifest says."""
    path = directory / file.name
    count = 0
    try:
        with opened(path) as stream, gzip.open(stream, "rb") as unpacked:
            while line := unpacked.readline(LONGEST_LINE + 1):
                count += 1
                if len(line) > LONGEST_LINE:
                    raise damaged(path, f"line {count:,} has more than {LONGEST_LINE:,} bytes")
                if count > file.lines:
                    raise damaged(path, f"it has more than the {file.lines:,} lines that it should have")
                yield line
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, f"it cannot be unpacked: {error}") from error
