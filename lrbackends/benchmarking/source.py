"""How much code a backend is: lines that hold code, comments and docstrings left out."""

from __future__ import annotations

import ast
import importlib.util
import io
import tokenize
from pathlib import Path

from lrbackends.backends.registry import module_of

_SKIPPED = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
)


def code_lines(text: str) -> int:
    """Return how many lines of Python source hold anything but comments, docstrings and space."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _SKIPPED:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                lines.difference_update(range(first.lineno, (first.end_lineno or 0) + 1))
    return len(lines)


def lines_of_code(backend: str) -> int | None:
    """Return the lines that are only there for this backend, None if its source is not to be had.

    Of ``NAME_backend.py`` that is the module and its siblings whose names start with ``NAME_`` or
    ``_NAME_``, as those of the built-in backends do; else it is the module that is registered. No
    engine is imported.

    Parameters
    ----------
    backend : str
        A registered name.
    """
    module = module_of(backend)
    try:
        spec = None if module is None else importlib.util.find_spec(module)
    except (ImportError, ValueError):  # the latter of a module made by hand
        return None
    path = Path((spec and spec.origin) or "")
    if not path.is_file() or path.suffix != ".py":
        return None
    files = [path]
    if path.stem == f"{backend}_backend":
        files = sorted(
            {*path.parent.glob(f"{backend}_*.py"), *path.parent.glob(f"_{backend}_*.py")}
        )
    return sum(code_lines(file.read_text(encoding="utf-8")) for file in files)
