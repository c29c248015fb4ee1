"""The description in OpenAPI is true: what it allows is answered as it says, what else is refused so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.http.site import Town

TOKEN = "a-token-of-sixteen-characters"


def test_what_is_made_up_from_the_description_finds_nothing(town: Town) -> None:
    """Without the stream, which does not end, and the retry, which waits for a process."""
    with town.serving(f'max_wait = "20ms"\ntokens = ["{TOKEN}"]') as api:
        done = subprocess.run(
            [
                Path(sys.executable).parent / "schemathesis",
                "--config-file",
                Path(__file__).parent / "schemathesis.toml",
                "run",
                f"{api.base_url}/schema/openapi.json",
                "--header",
                f"Authorization: Bearer {TOKEN}",
                "--exclude-path",
                "/v1/stream",
                "--exclude-path",
                "/v1/retry",
                "--max-examples=8",
                "--seed=1",
                "--workers=1",
                "--generation-database=none",
            ],
            cwd=town.folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 12" in done.stdout
