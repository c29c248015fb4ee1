"""The command `chainfold`: one door to everything, one clear sentence where something is wrong.

Exit codes: 0 done, 1 failed, 2 wrong use or configuration, 3 `verify` found a difference.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from eventstore.errors import ChainfoldError, WrongChain
from projections.errors import ConfigurationError, ProjectorError, SignatureError
from projections.service.cli import demo, look, pipeline, setup  # noqa: F401 - each adds to `app`
from projections.service.cli.app import app, options

WRONG_USE = (ConfigurationError, SignatureError, ProjectorError, WrongChain)


def main() -> NoReturn:
    """Runs the command line; turns our errors into a sentence on stderr and an exit code."""
    try:
        app(prog_name="chainfold")
    except ChainfoldError as error:
        if options.debug:
            raise
        from rich.console import Console

        console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        console.print(f"chainfold: {error}")
        sys.exit(2 if isinstance(error, WRONG_USE) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)
