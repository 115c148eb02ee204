"""What another form of the same work gains or costs: one loss and gradient, the two in turn.

`over_usual` is the time in this form over the time in float64, dense, on all threads.
"""

from functools import partial

import numpy as np
import pytest
from scipy import sparse

from lrbackends import Objective, Problem, get_backend
from lrbackends.objective import as_params

from . import optimum
from .baselines import AGREE, textbook_loss_gradient
from .conftest import L2
from .turns import in_turn, ratios, replay, replayed

pytestmark = pytest.mark.benchmark(timer=replayed)

DENSITY = 0.05
# The form: X in the usual form (from standard normal numbers and a generator), X in this one.
FORMS = {
    "float32": lambda X, _: (X, X.astype(np.float32)),
    "uint8": lambda X, _: _whole_numbers(X),
    "sparse": lambda X, rng: _sparse(X, rng),
    "one_thread": lambda X, _: (X, X),
}
TITLES = {
    "float32": "in float32",
    "uint8": "of whole numbers of 8 bits",
    "sparse": f"of CSR with {DENSITY:.0%} entries",
    "one_thread": "on one thread",
}


def _whole_numbers(X):
    pixels = np.clip(np.rint(X * 50 + 128), 0, 255).astype(np.uint8)
    return pixels.astype(np.float64), pixels


def _sparse(X, rng):
    thinned = np.where(rng.random(X.shape) < DENSITY, X, 0.0)
    return thinned, sparse.csr_array(thinned)


def _textbook(problem, theta, form):
    if form == "one_thread":
        pytest.skip("telling BLAS how many threads to use takes longer than a call")
    X, y = problem.X, problem.y.astype(problem.dtype)
    w, b = theta[:-1].astype(problem.dtype), problem.dtype.type(theta[-1])
    return lambda: textbook_loss_gradient(X, y, w, b, L2)


def _kernel(route, problem, theta, form):
    n_threads = 1 if form == "one_thread" else None
    kernels = get_backend(route).compile(problem, Objective(l2=L2), n_threads=n_threads)
    params = as_params((theta[:-1], theta[-1]), problem)

    def call():
        loss, gradient = kernels.loss_gradient(params)
        return loss, gradient.coef[0], gradient.intercept[0]

    return call


@pytest.mark.beside("textbook")
@pytest.mark.parametrize("form", list(FORMS))
def test_form(benchmark, note, problem, smoke, size, route, form):
    benchmark.group = f"gradient {size} {TITLES[form]}"
    rng = np.random.default_rng(3)
    usual, other = (
        Problem(X, problem.y, dtype="float32" if form == "float32" and i else "float64")
        for i, X in enumerate(FORMS[form](problem.X, rng))
    )
    theta = np.append(rng.normal(size=usual.n_features) / np.maximum(usual.rms, 1e-3), 0.3)
    theta[:-1] /= np.sqrt(usual.n_features)
    loss, gradient = optimum.loss_gradient(usual.X, usual.y, theta, L2)
    expected = np.append(gradient, loss)
    make = _textbook if route == "textbook" else partial(_kernel, route)
    calls = {"usual": make(usual, theta, "usual"), "form": make(other, theta, form)}
    for name, what in (("usual", usual), ("form", other)):
        answered, dw, db = calls[name]()  # compiles
        apart = np.abs(np.append(dw, [db, answered]) - expected).max() / np.abs(expected).max()
        assert apart <= AGREE[what.dtype.name], (name, apart)
    times = in_turn(calls, smoke=smoke)
    replay(benchmark, times["form"])
    note(
        calls["form"],
        passes=1,
        loss=answered,
        computed=other.dtype.name,
        stored=other.X.dtype.name,
        apart=apart,
        over_usual=ratios(times["form"], times["usual"]),
    )
