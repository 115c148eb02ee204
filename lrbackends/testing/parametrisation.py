"""The kit as pytest runs it: each test once for each --backend that it concerns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from lrbackends.backends.registry import available_backends
from lrbackends.errors import BackendUnavailableError
from lrbackends.testing.kit import Candidate, find

_CANDIDATES = pytest.StashKey[list[Candidate]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --backend."""
    parser.addoption(
        "--backend",
        action="append",
        default=[],
        metavar="NAME",
        help="backend to test: a registered name or module:attribute; may be given several times",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Load the backends."""
    asked: list[str] = config.getoption("backend")
    if not asked:
        raise pytest.UsageError(
            "say which backend to test: --backend NAME, where NAME is one of "
            f"{', '.join(available_backends())} or module:attribute"
        )
    try:
        config.stash[_CANDIDATES] = [find(name) for name in dict.fromkeys(asked)]
    except (BackendUnavailableError, ValueError) as error:
        raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test its backends; those that it does not concern are skipped, saying why."""
    if metafunc.module.__package__ != __package__:
        return
    names = [name for name in ("backend", "address") if name in metafunc.fixturenames]
    metafunc.parametrize(
        names, [_parameters(c, metafunc, names) for c in metafunc.config.stash[_CANDIDATES]]
    )


def _parameters(candidate: Candidate, metafunc: pytest.Metafunc, names: Sequence[str]) -> Any:
    reason = candidate.spared(metafunc.function)
    return pytest.param(
        *(getattr(candidate, name) for name in names),
        id=candidate.backend.name,
        marks=[pytest.mark.skip(reason=reason)] if reason else [],
    )
