"""Gives pytest the option --backend where the conformance kit is what it runs, and only there.

pytest loads the conftest.py of a package that is named after --pyargs too late for its options
to be known (pytest issue 1596), so this module is registered as an entry point. It imports
nothing and adds nothing to any other session.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

_KIT = "lrbackends.testing"


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Load the real plugin where the kit is among what is run."""
    given = early_config.known_args_namespace.file_or_dir
    if any(_names_the_kit(argument.split("::")[0]) for argument in given):
        early_config.pluginmanager.import_plugin(f"{_KIT}.parametrisation")


def _names_the_kit(argument: str) -> bool:
    here = Path(__file__).parent
    return (argument + ".").startswith(_KIT + ".") or here in (
        Path(argument).resolve(),
        Path(argument).resolve().parent,
    )
