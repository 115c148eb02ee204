"""Lines of code."""

import importlib
import sys
import types
from pathlib import Path

import pytest

from lrbackends.backends import registry
from lrbackends.backends.numpy_backend import NumpyBackend
from lrbackends.benchmarking.source import code_lines, lines_of_code

SOURCE = '''"""A module.

Of several lines.
"""

import os  # a comment beside code

# a comment


def f(x):
    """Say what."""
    text = """two
lines"""
    return (
        x,
        text,
    )


class A:
    """A class."""


"a string that is no docstring"
'''


def test_comments_docstrings_and_space_are_not_code():
    # import, def, text (2), return (4), class, string
    assert code_lines(SOURCE) == 10


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", 0),
        ("\n\n", 0),
        ('"""Only a docstring."""\n', 0),
        ("# only a comment\n", 0),
        ("x = 1", 1),
    ],
)
def test_sources_of_next_to_nothing(text, lines):
    assert code_lines(text) == lines


def test_the_siblings_of_a_built_in_backend_are_its_own():
    found = lines_of_code("numpy")
    module = Path(sys.modules[NumpyBackend.__module__].__file__)
    assert code_lines(module.read_text(encoding="utf-8")) < found < 3_000


@pytest.fixture
def registered(monkeypatch):
    """Register a backend of a module with that source, and one that cannot be imported."""

    def register(name: str, module: types.ModuleType) -> str:
        monkeypatch.setitem(sys.modules, module.__name__, module)
        entry = registry._Registration(f"{module.__name__}:Made", None, "this test")
        monkeypatch.setitem(registry._BUILT_IN, name, entry)
        return name

    return register


def test_of_a_third_partys_backend_it_is_the_module_of_its_class(registered, tmp_path, monkeypatch):
    source = (
        "from lrbackends.backends.numpy_backend import NumpyBackend\n\n\n"
        "class Made(NumpyBackend):\n    '''A backend.'''\n\n    name = 'made'\n"
    )
    (tmp_path / "made_for_lines.py").write_text(source, encoding="utf-8")
    (tmp_path / "made_beside.py").write_text("x = 1\n", encoding="utf-8")  # not its own
    monkeypatch.syspath_prepend(tmp_path)
    name = registered("made", importlib.import_module("made_for_lines"))
    assert lines_of_code(name) == 3


def test_a_compiled_module_has_no_lines_to_count(registered, tmp_path):
    module = types.ModuleType("made_of_c")
    (tmp_path / "made_of_c.so").write_bytes(b"\x7fELF")
    module.__file__ = str(tmp_path / "made_of_c.so")
    module.Made = type("Made", (NumpyBackend,), {"name": "of_c", "__module__": module.__name__})
    assert lines_of_code(registered("of_c", module)) is None


def test_a_backend_that_is_not_there_has_no_lines(monkeypatch):
    entry = registry._Registration("no_such_module:Made", "no_such_engine", "this test")
    monkeypatch.setitem(registry._BUILT_IN, "gone", entry)
    assert lines_of_code("gone") is None
