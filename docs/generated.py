"""Pages of the site that are made from the code: the commands, and the configuration that `init` writes."""

from __future__ import annotations

import re

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

from projections.service.cli import app
from projections.service.config.template import template

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#]+)[^)]*\)")

COMMANDS = """\
# Commands

Every command and option, from the program's own help. Listings take `--json`. Exit codes: 0 done, 1 failed,
2 wrong use or configuration, 3 `verify` found a difference.

"""
CONFIGURATION = """\
# Configuration

One TOML file. This is the file that `chainfold init` writes, in which every setting is explained; what is
commented out shows the default or an example. An unknown key is an error that names it.

```toml
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages to those of the folder."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="chainfold")
    help_texts = get_docs_for_click(obj=command, ctx=context, name="chainfold", title=" ")
    settings = template(rpc="https://...", chain_id=1, contract="0x...")
    pages = {
        "cli.md": COMMANDS + help_texts.lstrip("# \n"),
        "configuration.md": f"{CONFIGURATION}{settings}```\n",
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """A link to a file of the repository beside docs/ becomes its path: the site does not hold it."""
    return OUTSIDE.sub(lambda link: link[1] if link[2] in link[1] else f"{link[1]} (`{link[2]}`)", markdown)
