"""What all tests share: the backends by name, small data sets, and the profile of Hypothesis."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import settings
from sklearn import datasets

import lrbackends as lrb

collect_ignore = ["plugin_package"]  # a project of its own; see test_plugin.py
BACKENDS = ("numpy", "numba", "jax")

settings.register_profile("local", deadline=None, max_examples=25)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")


class Data(NamedTuple):
    X: np.ndarray
    y: np.ndarray


@pytest.fixture(scope="session", autouse=True)
def kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep compiled kernels and calibrations of this session and its processes out of the user's.

    The workers of pytest-xdist share them.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "numba"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_CACHE_DIR", str(folder))
        patch.setenv("LRBACKENDS_CACHE_DIR", str(folder.parent / "lrbackends"))
        yield


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each module to one worker, which compiles what it needs once.

    Those that look at `report`, which takes long to make, are one module to this end.
    """
    for item in items:
        shared = "report" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("report" if shared else item.path.stem))


@pytest.fixture(scope="session")
def backend_names() -> tuple[str, ...]:
    return BACKENDS


@pytest.fixture(scope="session", params=BACKENDS)
def backend_name(request: pytest.FixtureRequest) -> str:
    """The name of each backend in turn."""
    return request.param


@pytest.fixture(scope="session")
def noisy() -> Data:
    """60 rows of 3 features whose classes overlap: the optimum is finite without a penalty."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    z = X @ [1.2, 0.4, 0.5] - 1.0 + rng.logistic(size=60)
    return Data(X, (z > 0).astype(np.int64))


@pytest.fixture(scope="session")
def row_weights() -> np.ndarray:
    """A weight for each row of ``noisy``, zeros among them."""
    return np.random.default_rng(1).integers(0, 4, size=60).astype(float)


@pytest.fixture(scope="session")
def digits01() -> Data:
    """scikit-learn's digits, zero against one: 360 rows of 64 pixels in [0, 1]."""
    X, y = datasets.load_digits(n_class=2, return_X_y=True)
    return Data(X / 16.0, y)


@pytest.fixture(scope="session")
def breast_cancer() -> Data:
    """569 rows of 30 standardised features."""
    X, y = datasets.load_breast_cancer(return_X_y=True)
    return Data((X - X.mean(axis=0)) / X.std(axis=0), y)


@pytest.fixture(scope="session")
def rounding_bound() -> Callable[..., tuple[float, lrb.Params]]:
    """How far loss and gradient may be from the truth when each operation rounds once."""

    def bound(
        problem: lrb.Problem, objective: lrb.Objective, params: Any, dtype: Any = None
    ) -> tuple[float, lrb.Params]:
        """Return a first-order forward error bound of (loss, gradient), any order of summation.

        A score has p + 1 terms, so its error is at most (p + 2) eps S with S = |x| . |w| + |b|;
        the residual a passes that on times a (1 - a), the loss times a. The sums over n samples
        add n roundings and the elementary functions a few ULP. Doubled, for the reference's share.
        """
        eps = float(np.finfo(dtype or problem.dtype).eps)
        X = np.abs(problem.X.astype(np.float64))
        n, p = X.shape
        coef, intercept = (np.asarray(part, np.float64).ravel() for part in params)
        size = X @ np.abs(coef) + np.abs(intercept[0])
        m = problem.sign * (problem.X @ coef + intercept[0])
        a = np.exp(-np.logaddexp(0.0, -m))
        weight = problem.weight.astype(np.float64)
        of_score = (p + 2) * size * a
        of_residual = of_score * (1 - a) + (n + 12) * a
        loss = np.sum(weight * (of_score + (n + 12) * np.logaddexp(0.0, m))) / n
        db = np.sum(weight * of_residual) / n
        dw = (weight * of_residual) @ X / n
        penalty = objective.l2 * np.abs(coef)
        return 2 * eps * float(loss + (p + 4) * penalty @ np.abs(coef)), lrb.Params(
            2 * eps * (dw + 4 * penalty)[None], np.array([2 * eps * db])
        )

    return bound


@pytest.fixture(scope="session")
def textbook() -> Callable[..., np.ndarray]:
    """The four solvers as their papers write them."""

    def descend(
        solver: str,
        gradient_of: Callable[[np.ndarray, int], np.ndarray],
        theta: np.ndarray,
        n_steps: int,
        rate: float,
        momentum: float = 0.9,
        decay2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> np.ndarray:
        """Return the parameters after ``n_steps``; ``gradient_of(theta, t)`` counts from t = 0."""
        v = m = np.zeros_like(theta)
        for t in range(n_steps):
            g = gradient_of(theta, t)
            if solver == "gd":
                theta = theta - rate * g
            elif solver == "momentum":
                v = momentum * v + g
                theta = theta - rate * v
            elif solver == "nesterov":
                v = momentum * v + g
                theta = theta - rate * (g + momentum * v)
            elif solver == "adam":  # Kingma & Ba (2015), algorithm 1
                m = momentum * m + (1 - momentum) * g
                v = decay2 * v + (1 - decay2) * g**2
                m_hat = m / (1 - momentum ** (t + 1))
                v_hat = v / (1 - decay2 ** (t + 1))
                theta = theta - rate * m_hat / (np.sqrt(v_hat) + epsilon)
            else:
                raise ValueError(solver)
        return theta

    return descend


@contextmanager
def _compilations_of_numba() -> Iterator[list[Any]]:
    from numba.core import event

    with event.install_recorder("numba:compile") as recorder:
        yield recorder.buffer


@contextmanager
def _compilations_of_jax() -> Iterator[list[Any]]:
    from jax import monitoring

    seen: list[Any] = []

    def note(name: str, *_: Any, **__: Any) -> None:
        if name == "/jax/core/compile/backend_compile_duration":
            seen.append(name)

    monitoring.register_event_duration_secs_listener(note)
    try:
        yield seen
    finally:
        monitoring.unregister_event_duration_listener(note)


@pytest.fixture(scope="session")
def compilations() -> Callable[[str], Any]:
    """``with compilations(engine) as seen``: what Numba or JAX says it compiles meanwhile."""
    count = {"numba": _compilations_of_numba, "jax": _compilations_of_jax}
    return lambda engine: count[engine]()
