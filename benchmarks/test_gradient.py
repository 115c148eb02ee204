"""One loss and gradient over all rows, warm."""

from contextlib import nullcontext

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from lrbackends import get_backend

from .baselines import READS, read_once, textbook_loss_gradient
from .conftest import L2

_SMALL_BYTES = 1 << 22  # below this a second thread costs more than it saves


@pytest.mark.beside("textbook", "read_once")
def test_gradient(benchmark, note, problem, objective, params, size, route):
    benchmark.group = f"gradient {size}"
    y, w, b = problem.y.astype(float), params.coef[0], float(params.intercept[0])
    expected, dw, db = textbook_loss_gradient(problem.X, y, w, b, L2)
    limit = nullcontext()
    if route == "textbook":
        call, loss = lambda: textbook_loss_gradient(problem.X, y, w, b, L2), expected
    elif route == "read_once":
        call, loss = lambda: read_once(problem.X), None
        limit = threadpool_limits(1 if problem.X.nbytes < _SMALL_BYTES else None, user_api="blas")
    else:
        kernels = get_backend(route).compile(problem, objective)
        call = lambda: kernels.loss_gradient(params)  # noqa: E731
        loss, gradient = call()  # compiles
        np.testing.assert_allclose(loss, expected, rtol=1e-12)
        np.testing.assert_allclose(gradient.coef[0], dw, rtol=0, atol=1e-12)
        np.testing.assert_allclose(gradient.intercept[0], db, rtol=0, atol=1e-12)
    with limit:
        benchmark(call)
        note(call, X=problem.X, passes=1, reads=READS.get(route), loss=loss)
