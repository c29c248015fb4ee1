"""The syntax of a projector, as its fingerprint takes it: the class and what it reaches within its module.

Reached is what the class names, and what that names in turn: functions, constants and classes of the same
module, with their decorators and base classes, and statements that change one of these. Import lines,
comments, docstrings and everything else in the module do not count, and neither do other modules.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from projections.errors import ProjectorError
from projections.projectors import Projector

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def reached_syntax(projector: type[Projector]) -> str:
    """The syntax of the class and of all that it reaches, in the order of the module, the same under every
    version of Python that reads it. Raises `ProjectorError` when the source cannot be read."""
    tree = _Bare().visit(_tree(projector))
    statements = [item for item in tree.body if not _is_main(item)]
    touched = [set(_touched(item)) for item in statements]
    wanted, reached = {projector.__qualname__.partition(".")[0]}, set[int]()
    while True:
        found = {place for place, names in enumerate(touched) if names & wanted} - reached
        if not found:
            break
        reached |= found
        wanted |= {
            node.id for place in found for node in ast.walk(statements[place]) if isinstance(node, ast.Name)
        }
    return "\n".join(_written(statements[place]) for place in sorted(reached))


def module_syntax(projector: type[Projector]) -> str:
    """The syntax of the whole module, with its imports: the first form of fingerprints was made of it."""
    tree = _tree(projector)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return ast.dump(tree)


def _tree(projector: type[Projector]) -> ast.Module:
    module = inspect.getmodule(projector)
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(module if module is not None else projector)))
    except (OSError, TypeError) as error:
        raise ProjectorError(f"The source of {projector.__name__} cannot be read: {error}.") from error


class _Bare(ast.NodeTransformer):
    """Leaves out import lines and docstrings, those of attributes among them."""

    def visit_Import(self, _: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, _: ast.ImportFrom) -> None:
        return None

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node


def _is_main(statement: ast.stmt) -> bool:
    """Is it `if __name__ == ...`, which is not run where a projector is imported?"""
    return isinstance(statement, ast.If) and any(
        isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test)
    )


def _touched(statement: ast.stmt) -> Iterator[str]:
    """The names of the module that a statement binds or may change; a call may change all that it names."""
    if isinstance(statement, _DEFINITIONS):
        yield statement.name
        return
    for node in _executed(statement):
        if isinstance(node, _DEFINITIONS):
            yield node.name
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Expr):
            yield from (part.id for part in ast.walk(node) if isinstance(part, ast.Name))
        elif isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
            yield from (part.id for part in ast.walk(node.value) if isinstance(part, ast.Name))


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """A statement and its parts, without the bodies of the functions and classes in it."""
    yield node
    if not isinstance(node, (*_DEFINITIONS, ast.Lambda)):
        for part in ast.iter_child_nodes(node):
            yield from _executed(part)


def _written(node: Any) -> str:
    """`ast.dump` without fields that are empty: later versions of Python add such fields."""
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
        return f"{type(node).__name__}({', '.join(f'{name}={_written(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_written, node))}]"
    return repr(node)
