"""The description in OpenAPI is true: what it allows is answered as it says, what else is refused so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

from tests.http.site import Town, address

TOKEN = "a-token-of-sixteen-characters"


def test_what_is_made_up_from_the_description_finds_nothing(town: Town) -> None:
    """Without the stream, which does not end, and the retry, which waits for a process."""
    for _ in range(3):  # so that there is a second page of reorgs
        town.chain.reorg(1)
        town.mine((40, 1))
        town.sync()
    with town.serving(f'max_wait = "20ms"\ntokens = ["{TOKEN}"]') as api:
        api.headers["Authorization"] = f"Bearer {TOKEN}"
        config = town.folder / "schemathesis.toml"
        config.write_text(Path(__file__).with_name("schemathesis.toml").read_text() + cursors(api))
        done = subprocess.run(
            [
                Path(sys.executable).parent / "schemathesis",
                "--config-file",
                config,
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
    assert "Tested: 14" in done.stdout


def cursors(api: httpx.Client) -> str:
    """A cursor of each list, for none can be made up from the description."""
    key = address(1)
    lists = {
        "/v1/referrals": "/v1/referrals",
        "/v1/events": "/v1/events",
        "/v1/chains/{chain}/reorgs": "/v1/chains/local/reorgs",
        "/v1/referrals/{key}/history": f"/v1/referrals/{key}/history",
        "/v1/referrals/document/history": f"/v1/referrals/{key}/history",
    }
    text = ""
    for path, asked in lists.items():
        cursor = api.get(asked, params={"limit": 1}).json()["next"]
        assert cursor is not None, asked
        text += f'\n[[operations]]\ninclude-path = "{path}"\nparameters = {{ "query.cursor" = "{cursor}" }}\n'
    return text
