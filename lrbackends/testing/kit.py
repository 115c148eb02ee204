"""The tests of the kit: which of them concern a backend, and how to run them without pytest."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import lrbackends.testing
from lrbackends.backends import registry
from lrbackends.backends.protocol import Backend, BatchBackend
from lrbackends.backends.registry import get_backend

Test = Callable[..., None]  # of ``backend``, and of ``address`` where it asks for that
_T = TypeVar("_T", bound=Test)

_CLAIMED: dict[Test, tuple[str, ...]] = {}
_UNCLAIMED: dict[Test, str] = {}
BATCHES = "compile_batch"  # claimed by having it; the others are those of `Capabilities`


def claimed(*abilities: str) -> Callable[[_T], _T]:
    """Mark a test that concerns only backends which claim all of these abilities."""

    def mark(test: _T) -> _T:
        _CLAIMED[test] = abilities
        return test

    return mark


def unclaimed(ability: str) -> Callable[[_T], _T]:
    """Mark a test that concerns only backends which do not claim this ability."""

    def mark(test: _T) -> _T:
        _UNCLAIMED[test] = ability
        return test

    return mark


def claims(backend: Backend, ability: str) -> bool:
    """Return whether a backend claims an ability: a dtype, `BATCHES` or one of `Capabilities`."""
    if ability == BATCHES:
        return isinstance(backend, BatchBackend)
    can = backend.capabilities()
    return ability in can.dtypes if ability.startswith("float") else bool(getattr(can, ability))


@dataclass(frozen=True)
class Candidate:
    """A backend under test.

    Attributes
    ----------
    backend : Backend
    address : str or None
        How another process finds it: its registered name or "module:attribute"; None where only
        the object is known.
    """

    backend: Backend
    address: str | None

    def spared(self, test: Test) -> str:
        """Return why a test does not concern this backend, "" where it does."""
        lacking = [a for a in _CLAIMED.get(test, ()) if not claims(self.backend, a)]
        if lacking:
            return f"{self.backend.name} does not claim {' and '.join(lacking)}"
        ability = _UNCLAIMED.get(test)
        if ability is not None and claims(self.backend, ability):
            return f"{self.backend.name} claims {ability}"
        if self.address is None and "address" in inspect.signature(test).parameters:
            return "another process cannot load an object: give a name or module:attribute"
        return ""

    def run(self, test: Test) -> None:
        """Run a test; it raises an AssertionError where it fails."""
        wanted = inspect.signature(test).parameters
        test(**{name: getattr(self, name) for name in ("backend", "address") if name in wanted})


def find(backend: str | Backend) -> Candidate:
    """Return the candidate of a registered name, of "module:attribute" or of a backend object.

    Raises
    ------
    ValueError, BackendUnavailableError
        There is no such backend, or it cannot be loaded; the message says why.
    """
    if not isinstance(backend, str):
        return Candidate(get_backend(backend), None)
    loaded = registry.load(backend, backend) if ":" in backend else get_backend(backend)
    return Candidate(loaded, backend)


@cache
def load_tests() -> dict[str, Test]:
    """Return every test of the kit by its name, "module.function"."""
    tests: dict[str, Test] = {}
    for info in pkgutil.iter_modules(lrbackends.testing.__path__):
        if info.name.startswith("test_"):
            module = importlib.import_module(f"{lrbackends.testing.__name__}.{info.name}")
            for name, member in vars(module).items():
                if name.startswith("test_"):
                    tests[f"{info.name}.{name}"] = member
    return tests


def check_backend(backend: str | Backend) -> None:
    """Run the whole kit on a backend; for use without pytest.

    Parameters
    ----------
    backend : str or Backend
        A registered name, "module:attribute", or a backend object; of an object it cannot be
        tested that another process gets the same bits.

    Raises
    ------
    AssertionError
        Some tests failed: the message has all of them with their figures.
    ValueError, BackendUnavailableError
        There is no such backend here.
    RuntimeError
        Python was started with -O, which strips the assertions that the kit consists of.

    Examples
    --------
    >>> import lrbackends.testing
    >>> lrbackends.testing.check_backend("nunpy")
    Traceback (most recent call last):
    ...
    ValueError: backend 'nunpy' is unknown; choose from numpy, numba, jax; did you mean 'numpy'?
    """
    if not __debug__:
        raise RuntimeError("the conformance kit consists of assertions: start Python without -O")
    candidate = find(backend)
    failures = []
    tests = {name: test for name, test in load_tests().items() if not candidate.spared(test)}
    for name, test in tests.items():
        try:
            candidate.run(test)
        except AssertionError as error:
            failures.append(f"{name}: {inspect.getdoc(test)}\n{error}")
        except Exception:
            failures.append(f"{name}: {inspect.getdoc(test)}\n{traceback.format_exc()}")
    if failures:
        count = f"{len(failures)} of the {len(tests)} tests that concern it"
        name = candidate.backend.name
        raise AssertionError("\n\n".join([f"backend {name!r} fails {count}", *failures]))
