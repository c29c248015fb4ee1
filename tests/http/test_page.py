"""The page at `/` and its files: open to anybody, from nowhere else, asked for again by their tags."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter
from pathlib import Path

import httpx
import pytest

from projections.service.http.base.page import FILES, FOLDER
from tests.http.site import Town

TOKEN = "a-token-of-sixteen-or-more"


def test_every_file_is_served_with_its_type_and_not_again_while_its_tag_holds(plain_town: Town) -> None:
    with plain_town.serving() as api:
        assert "/" in FILES
        for path, file in FILES.items():
            answer = api.get(path)
            assert (answer.status_code, answer.content) == (200, file.body), path
            assert answer.headers["content-type"].startswith(file.kind)
            again = api.get(path, headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")


def test_it_is_open_where_tokens_are_configured_and_what_it_asks_for_is_not(plain_town: Town) -> None:
    with plain_town.serving(f'tokens = ["{TOKEN}"]\nrequests_per_second = 1') as api:
        for path in FILES:
            assert api.get(path).status_code == 200
        assert api.get("/v1/status").status_code == 401
        assert api.get("/page/nothing.js").status_code in (401, 429)


def test_a_role_that_serves_no_documents_serves_the_page(plain_town: Town) -> None:
    with plain_town.serving(documents=False) as api:
        assert api.get("/").status_code == 200


def test_nothing_from_elsewhere_and_nothing_inline(plain_town: Town) -> None:
    with plain_town.serving() as api:
        headers: httpx.Headers = api.get("/").headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    page = (FOLDER / "index.html").read_text()
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|https?://", page)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.js")), ids=lambda path: str(path.name))
def test_every_module_that_a_module_names_is_there(path: Path) -> None:
    for name in re.findall(r'from "\./([\w.]+)"', path.read_text()):
        assert f"/page/{name}" in FILES, name


def test_no_module_of_the_page_imports_itself_over_others() -> None:
    imported = {
        path.name: set(re.findall(r'from "\./([\w.]+)"', path.read_text())) for path in FOLDER.glob("*.js")
    }
    order = TopologicalSorter(imported)
    assert set(order.static_order()) >= set(imported)  # raises CycleError, which names the circle
