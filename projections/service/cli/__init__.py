"""The command `chainfold`: one door to everything, one clear sentence where something is wrong.

Exit codes: 0 done, 1 failed, 2 wrong use or configuration, 3 `verify` found a difference.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn

from eventstore.errors import ChainfoldError, WrongChain
from projections.errors import ConfigurationError, ProjectorError, SignatureError
from projections.service.cli import (  # noqa: F401 - each adds to `app`
    adopt,
    alerts,
    backup,
    check,
    demo,
    events,
    export,
    failures,
    heads,
    init,
    notifications,
    rebuild,
    run,
    runs,
    status,
    sync,
    verify,
)
from projections.service.cli.app import app, options

HINT = (
    "This is a fault of chainfold; nothing that was committed is lost. "
    "Run it again with --debug and report what it prints."
)
WRONG_USE = (ConfigurationError, SignatureError, ProjectorError, WrongChain)


def main() -> NoReturn:
    """Runs the command line; turns our errors into a sentence on stderr and an exit code.

    What it makes, and the servers that it starts make, only its owner may read.
    """
    os.umask(0o077)
    try:
        app(prog_name="chainfold")
    except ChainfoldError as error:
        _tell(str(error))
        sys.exit(2 if isinstance(error, WRONG_USE) else 1)
    except Exception as error:  # noqa: BLE001 - the last door: its text may quote a secret, its type does not
        _tell(f"An unexpected {type(error).__name__} stopped the command. {HINT}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _tell(sentence: str) -> None:
    """One line on stderr; with --debug the traceback of what is being handled before it."""
    if options.debug:
        traceback.print_exc()
    line = " ".join(sentence.split())
    end = "" if line.endswith((".", "?")) else "."  # a driver's own words may end anyhow
    print(f"chainfold: {line}{end}", file=sys.stderr)
