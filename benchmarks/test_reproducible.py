"""What the reproducible arithmetic costs: native steps beside the same backend's fast ones."""

import numpy as np
import pytest

from lrbackends import Objective, Problem, get_backend
from lrbackends.backends.protocol import initial_state
from lrbackends.objective import as_params
from lrbackends.solvers import UpdateRule

from .baselines import textbook_fit
from .conftest import L2
from .turns import PAUSE, once, ratios, replay, replayed, take_turns

pytestmark = pytest.mark.benchmark(timer=replayed)

STEPS = 10
ROUNDS = 15
RATE = 0.01


def _made(n: int, p: int):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    return X, X[:, 0] + rng.logistic(size=n) > 0


@pytest.mark.parametrize("data", ["360x64", "100000x100", "mnist01"])
def test_reproducible(benchmark, note, data_of, smoke, backend, data):
    """Fast, reproducible and textbook steps in turn, so that drift of the machine hits all."""
    if smoke and data != "360x64":
        pytest.skip("not in smoke form")
    X, y = data_of(data) if data == "mnist01" else _made(*map(int, data.split("x")))
    problem, objective = Problem(X, y), Objective(l2=L2)
    benchmark.group = f"{STEPS} reproducible steps {data}"
    start = initial_state(as_params((np.zeros(problem.n_features), 0.0), problem))
    rule, labels = UpdateRule("gd", RATE), problem.y.astype(float)
    calls = {"textbook": lambda: textbook_fit(problem.X, labels, RATE, L2, [slice(None)] * STEPS)}
    losses = {"textbook": calls["textbook"]()}
    for arithmetic in ("fast", "reproducible"):
        kernels = get_backend(backend).compile(problem, objective, arithmetic)
        calls[arithmetic] = lambda k=kernels: k.run(rule, start, STEPS, None)
        state, _ = calls[arithmetic]()  # compiles
        losses[arithmetic] = kernels.loss((state.theta[:-1], state.theta[-1]))
        np.testing.assert_allclose(losses[arithmetic], losses["textbook"], rtol=1e-12)

    turns = {name: once(call) for name, call in calls.items()}
    times = take_turns(turns, 2 if smoke else ROUNDS, pause=PAUSE)
    replay(benchmark, times["reproducible"])
    over = {
        f"over_{name}": ratios(times["reproducible"], times[name]) for name in ("fast", "textbook")
    }
    note(calls["reproducible"], X=X, passes=STEPS, loss=losses["reproducible"], **over)
