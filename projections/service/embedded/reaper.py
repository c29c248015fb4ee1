"""The keeper of an embedded server: a small process that stops it once no process uses its directory.

Run as a program, by `servers.py`, with the standard library alone. Two locks of the kernel say all
that matters, and the kernel frees both in whichever way a process ends:

- `users.lock` is held shared by every process that uses the directory. A keeper that gets it
  exclusively knows that no process does; newcomers wait until the server is down.
- `server.lock` is held by the keeper and by the server itself, which inherits it: while it is held
  a server lives, even where the keeper was killed.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

BUSY = 75
PATIENCE = 30.0
_TICK = 0.1
_PR_SET_PDEATHSIG = 1


def _follow_parent_into_death() -> None:
    """On Linux the server gets SIGTERM when its keeper dies; elsewhere it outlives the keeper."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _detach() -> None:
    """Leaves the starter's process group, so that its Ctrl-C and its death are not ours."""
    if os.fork():
        os._exit(0)
    os.setsid()


def _announce(directory: Path, *, url: str, pid: int) -> None:
    draft = directory / "server.json.draft"
    draft.write_text(json.dumps({"url": url, "pid": pid}))
    draft.replace(directory / "server.json")


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def keep(directory: Path, *, url: str, command: list[str]) -> int:
    """Runs `command` while anyone uses `directory`; BUSY where a server lives there already."""
    os.umask(0o077)  # the server's data and its address are their owner's alone
    lock = os.open(directory / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return BUSY
    _detach()
    users = os.open(directory / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        cwd=directory,
        pass_fds=(lock,),
        preexec_fn=_follow_parent_into_death,  # noqa: PLW1509  this process has one thread
    )
    _announce(directory, url=url, pid=server.pid)
    while server.poll() is None:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_TICK)
            continue
        (directory / "server.json").unlink(missing_ok=True)
        _stop(server)
        return 0
    (directory / "server.json").unlink(missing_ok=True)
    return 1


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[1]), url=sys.argv[2], command=sys.argv[3:]))
