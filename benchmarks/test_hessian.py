"""The Hessian, and its product with a vector without forming it: one call, warm."""

import numpy as np
import pytest

from lrbackends import Params, get_backend

from .baselines import AGREE, textbook_hessian, textbook_hessian_product
from .conftest import L2


def _textbook(kernel, problem, params, vector):
    """Return textbook NumPy's call; its answer for a vector is (w, b) in one array."""
    X, w, b = problem.X, params.coef[0], float(params.intercept[0])
    if kernel == "hessian":
        return lambda: textbook_hessian(X, w, b, L2)
    v = np.append(vector.coef[0], vector.intercept)
    return lambda: textbook_hessian_product(X, w, b, v, L2)


@pytest.mark.beside("textbook")
@pytest.mark.parametrize("kernel", ["hessian", "hessian_product"])
def test_hessian(benchmark, note, problem, objective, params, size, route, kernel):
    benchmark.group = f"{kernel} {size}"
    rng = np.random.default_rng(2)
    vector = Params(rng.normal(size=params.coef.shape), rng.normal(size=1))
    textbook = _textbook(kernel, problem, params, vector)
    call, reads = textbook, 2
    loss = get_backend("numpy").compile(problem, objective).loss(params)
    if route != "textbook":
        backend = get_backend(route)
        if not backend.capabilities().hessian:
            pytest.skip(f"{route} has no second derivatives")
        kernels, reads = backend.compile(problem, objective), None
        given = (params, vector) if kernel == "hessian_product" else (params,)

        def call():
            return getattr(kernels, kernel)(*given)

        loss, answer, expected = kernels.loss(params), call(), textbook()  # compiles
        if isinstance(answer, Params):
            answer = np.append(answer.coef[0], answer.intercept)
        apart = np.abs(answer - expected).max() / np.abs(expected).max()
        assert apart <= AGREE["float64"], apart
    benchmark(call)
    note(call, X=problem.X, passes=1, reads=reads, loss=loss)
