"""The directory of a backup: one writer at a time, and what the file system refuses there."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventstore import private_files
from eventstore.errors import BackupError


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """One dump at a time into one directory; the lock goes with its process."""
    directory.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, private_files.MODE), "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"Another process is writing a backup into {directory}.") from None
        yield


@contextmanager
def written(directory: Path) -> Iterator[None]:
    """Raises `BackupError` for what the file system refuses within this."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise BackupError(
            f"The backup cannot be written into {directory}: {error.strerror or error}.",
            hint=("Make room and run it again: it goes on where it stopped. " if full else "")
            + "What was there before stands.",
        ) from error
