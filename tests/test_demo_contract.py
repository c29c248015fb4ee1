"""The contract that the demo and the tests deploy is the one whose source stands beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from projections.service.demo.contract import ARTIFACT

SOURCE = Path("projections/service/demo/Referrals.vy")


@pytest.mark.process
def test_the_kept_bytecode_is_what_the_source_compiles_to() -> None:
    vyper = Path(sys.executable).parent / "vyper"
    printed = subprocess.run(
        [vyper, "-f", "abi,bytecode", SOURCE], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert json.loads(printed[0]) == ARTIFACT["abi"]
    assert printed[1] == ARTIFACT["bytecode"]
