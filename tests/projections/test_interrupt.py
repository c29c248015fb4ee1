"""Ctrl-C ends a command, wherever it reaches it."""

from __future__ import annotations

import subprocess
import sys

LOST = """
import signal, sys, time
from projections.service import cli

class Garbage:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def command(**_):
    garbage = Garbage()
    del garbage
    time.sleep(60)

cli.app = command
cli.main()
"""


def test_an_interrupt_that_comes_while_a_destructor_runs_is_not_lost() -> None:
    done = subprocess.run([sys.executable, "-c", LOST], timeout=40, check=False, capture_output=True)
    assert done.returncode == 130, done.stderr
