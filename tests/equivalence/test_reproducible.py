"""The reproducible arithmetic: the same bits on the three backends, or the same refusal.

That kernels agree on every solver, type and size is in `test_golden`; here are whole fits, what is
predicted from them, data that nobody chose, and what is not covered.
"""

import warnings
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lrbackends as lrb
from lrbackends import _run
from lrbackends.backends.protocol import Batches, initial_state, pack, unpack
from lrbackends.backends.registry import get_backend
from lrbackends.equivalence import golden, trajectory, verify
from lrbackends.equivalence.wrong_backends import WrongBackend
from lrbackends.errors import DivergenceError, ScaleWarning, UnsupportedError
from lrbackends.solvers import FIRST_ORDER, UpdateRule, epoch_batches

pytestmark = pytest.mark.filterwarnings("ignore::lrbackends.errors.SeparationWarning")


@pytest.fixture(scope="module")
def data():
    """70 rows to train on and 70 to validate on, 5 features, and weights."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(140, 5))
    y = (X[:, 0] + rng.normal(size=140) > 0).astype(int)
    return X[:70], y[:70], X[70:], y[70:], rng.integers(1, 5, size=70)


def bits(*arrays) -> bytes:
    """Return all bits; a NaN is a NaN, whatever its sign."""
    numbers = [np.where(np.isnan(a), np.nan, np.asarray(a)) for a in arrays]
    return b"".join(a.dtype.str.encode() + a.tobytes() for a in numbers)


def bits_of(result: lrb.TrainingResult, X: np.ndarray) -> dict[str, bytes]:
    """Return all that has to be the same."""
    return {
        "parameters": bits(result.coef, result.intercept, result.state.residual),
        "history": bits(*result.history.values(), result.loss, result.initial_loss),
        "scores": bits(result.decision_function(X)),
        "probabilities": bits(result.predict_proba(X)),
        "stopping": repr((result.n_epochs, result.best_epoch, result.status)).encode(),
        "learning rate": bits(result.learning_rate),
    }


def fits(backend_names, X, y, sample_weight=None, validation_data=None, **options):
    options = {"l2": 0.01, "epochs": 8, "random_state": 3} | options
    return {
        name: lrb.Trainer(name, arithmetic="reproducible", **options).fit(
            X, y, sample_weight, validation_data
        )
        for name in backend_names
    }


def assert_same(results: dict[str, lrb.TrainingResult], X: np.ndarray) -> None:
    first, *others = results
    expected = bits_of(results[first], X)
    for name in others:
        found = bits_of(results[name], X)
        wrong = [what for what in expected if found[what] != expected[what]]
        assert not wrong, f"{first} and {name} differ in {', '.join(wrong)}"


# -- whole fits


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch_size", [None, 16], ids=["all rows", "batches"])
@pytest.mark.parametrize("solver", FIRST_ORDER)
def test_a_fit_has_the_same_bits_on_each_backend(backend_names, data, solver, batch_size, dtype):
    X, y, X_held, y_held, weight = data
    results = fits(
        backend_names,
        X,
        y,
        weight,
        (X_held, y_held),
        solver=solver,
        batch_size=batch_size,
        dtype=dtype,
    )
    assert_same(results, X_held)
    result = results["jax"]
    assert np.abs(result.coef).min() > 0
    assert len(set(result.history["validation_loss"])) == 8


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 3, "min_delta": 1e-3, "epochs": 100, "l2": 0.0},
        {"patience": 2, "epochs": 100, "batch_size": 16, "learning_rate": 0.5},
        {"validation_fraction": 0.5, "patience": 2, "epochs": 100, "batch_size": 16},
        {"tol": 0.05, "epochs": 1000},
        {"init": "normal", "replacement": True, "batch_size": 16},
        {"fit_intercept": False, "batch_size": 16},
        {"init": ([[0.5, -0.0, 3.0, 1e-3, 0.0]], [-2.0])},
    ],
    ids=lambda options: " ".join(options),
)
def test_early_stopping_and_starts_change_nothing_of_that(backend_names, data, options):
    X, y, X_held, _, weight = data
    results = fits(backend_names, X, y, weight, **options)
    assert_same(results, X_held)
    if {"patience", "tol"} & set(options):
        assert results["numpy"].status in ("early_stopped", "converged")
        assert 1 < results["numpy"].n_epochs < options["epochs"]


@pytest.mark.parametrize("name", ["digits01", "breast_cancer"])
def test_bits_are_the_same_on_real_data(request, backend_names, name):
    X, y = request.getfixturevalue(name)
    results = fits(backend_names, X, y, solver="nesterov", epochs=60)
    assert_same(results, X)


@pytest.mark.parametrize("learning_rate", [100.0, 1e300])
@pytest.mark.parametrize("batch_size", [None, 16], ids=["all rows", "batches"])
def test_training_that_diverges_does_so_alike(backend_names, data, learning_rate, batch_size):
    X, y, X_held, *_ = data
    results = {}
    for name in backend_names:
        with pytest.raises(DivergenceError) as raised:
            fits(
                [name],
                50 * X,
                y,
                solver="momentum",
                learning_rate=learning_rate,
                batch_size=batch_size,
                epochs=200,
            )
        results[name] = raised.value.result
    assert_same(results, X_held)


def test_the_fast_arithmetic_would_not_pass(backend_names, data):
    X, y, X_held, *_ = data
    results = fits(backend_names, X, y, epochs=100)
    fast = {name: lrb.Trainer(name, l2=0.01, epochs=100).fit(X, y) for name in backend_names}
    assert_same(results, X_held)
    with pytest.raises(AssertionError, match="differ in parameters"):
        assert_same(fast, X_held)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_threads_do_not_change_bits(backend):
    case = golden.CASES[golden.LARGE]
    found = {golden.hash_of(get_backend(backend), case, k) for k in (1, 2, 3, 4)}
    assert found == {golden.stored()[golden.LARGE]}


# -- data that nobody chose


@st.composite
def problems(draw):
    """Return a problem of any size and scale, with or without weights."""
    n, p = draw(st.integers(1, 140)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = 10.0 ** draw(st.floats(-3, 3))
    X = rng.normal(size=(n, p)) * scale
    X[rng.random(size=X.shape) < draw(st.sampled_from([0.0, 0.5]))] = draw(
        st.sampled_from([0.0, -0.0])
    )
    weight = rng.uniform(0.1, 5.0, size=n) if draw(st.booleans()) else None
    dtype = draw(st.sampled_from(["float64", "float32"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScaleWarning)
        return lrb.Problem(X, rng.integers(0, 2, n), weight, dtype=dtype, classes=[0, 1])


@settings(max_examples=16)
@given(
    problem=problems(),
    solver=st.sampled_from(FIRST_ORDER),
    l2=st.sampled_from([0.0, 0.1]),
    batch=st.sampled_from([None, 1, 5, 64]),
    start=st.sampled_from([0.0, 1.0, 100.0]),
)
def test_all_backends_agree_bit_for_bit(problem, solver, l2, batch, start):
    n, p = problem.n_samples, problem.n_features
    rule = UpdateRule(solver, 0.01)
    coef = start * np.random.default_rng(p).normal(size=(1, p)) / (1e-30 + np.abs(problem.X).max())
    params = lrb.Params(coef.astype(problem.dtype), np.zeros(1, problem.dtype))
    batches = None
    if batch is not None:
        some = epoch_batches(n, min(batch, n), 1, 0)
        batches = Batches(*(part[:6] for part in some))
    steps = 6 if batches is None else len(batches.sizes)
    answers = {}
    for name in ("numpy", "numba", "jax"):
        kernels = get_backend(name).compile(problem, lrb.Objective(l2), "reproducible")
        state, records = kernels.run(rule, initial_state(params), steps, batches)
        end = unpack(state.theta, p)
        loss, gradient = kernels.loss_gradient(end)
        scores = kernels.decision_function(problem.X[::2].copy(), end)
        answers[name] = bits(*state[:4], records, loss, pack(gradient), scores)
    assert answers["numpy"] == answers["numba"] == answers["jax"]


# -- predictions


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_predictions_are_those_of_each_backend_s_kernels(backend_name, data, dtype):
    X, y, X_held, *_ = data
    result = fits([backend_name], X, y, dtype=dtype)[backend_name]
    problem = lrb.Problem(X, y, dtype=dtype)
    kernels = get_backend(backend_name).compile(problem, lrb.Objective(), "reproducible")
    rows = X_held.astype(dtype)
    assert bits(result.decision_function(X_held)) == bits(
        kernels.decision_function(rows, result.params)
    )


def test_the_score_of_a_row_does_not_depend_on_the_rows_around_it(data):
    X, y, X_held, *_ = data
    result = fits(["numpy"], X, y)["numpy"]
    one_by_one = [result.decision_function(row[None])[0] for row in X_held]
    assert bits(one_by_one) == bits(result.decision_function(X_held))
    assert bits(result.decision_function(np.asfortranarray(X_held)[::-1])[::-1]) == bits(one_by_one)


def test_probabilities_are_right_and_in_their_type(data):
    X, y, X_held, *_ = data
    for dtype in ("float64", "float32"):
        result = fits(["numba"], X, y, dtype=dtype, learning_rate=3.0, l2=0.0)["numba"]
        proba, z = result.predict_proba(X_held * 20), result.decision_function(X_held * 20)
        exact = 1 / (1 + np.exp(-z.astype(np.longdouble)))
        assert proba.dtype == dtype
        assert np.abs(proba[:, 1] - exact).max() <= 2 * np.finfo(dtype).eps
        np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=2 * np.finfo(dtype).eps)
        assert (result.predict(X_held * 20, 0.5) == (z > 0)).all()
        assert (result.predict(X_held * 20, 0.9) == (proba[:, 1] > 0.9)).all()


def test_scores_that_overflow_on_the_way_still_have_a_sign(backend_names):
    X = np.array([[1.0, 1.0], [-1.0, 2.0], [0.5, -1.0], [-2.0, 0.1]])
    results = fits(backend_names, X, [1, 0, 1, 0], init=([[3.0, -5.0]], [1.0]), epochs=0)
    huge = np.array([[1.7e308, 1.7e308], [1.7e308, -1.7e308]])
    assert_same(results, huge)
    assert results["numpy"].predict(huge).tolist() == [0, 1]


def test_the_loss_of_validation_rows_is_the_backend_s_own(backend_name, data, monkeypatch):
    X, y, X_held, y_held, _ = data
    monkeypatch.delattr(_run, "mean_log_loss")  # NumPy's exp has other bits on other processors
    result = fits([backend_name], X, y, validation_data=(X_held, y_held))[backend_name]
    held = lrb.Problem(X_held, y_held)
    kernels = get_backend("numpy").compile(held, lrb.Objective(), "reproducible")
    assert result.history["validation_loss"][-1] == kernels.loss(result.params)
    accuracy = np.mean((kernels.decision_function(held.X, result.params) > 0) == y_held)
    assert result.history["validation_accuracy"][-1] == accuracy


# -- what is not covered is refused, in the same words by each backend


def refusal(backend, X, y, sample_weight=None, validation_data=None, **options):
    trainer = lrb.Trainer(backend, arithmetic="reproducible", l2=0.1, epochs=2, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScaleWarning)
        with pytest.raises((ValueError, TypeError)) as raised:
            trainer.fit(X, y, sample_weight, validation_data)
    return raised.value


SMALL_X = [[1.0, 2.0], [-1.0, 1.0], [0.5, -1.0], [2.0, 0.25]]
SMALL_Y = [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("dtype", "entry"),
    [("float64", 1e-101), ("float64", -1e-300), ("float32", 1e-13), ("float32", -1e-30)],
)
def test_entries_whose_products_could_be_subnormal_are_refused(backend_names, dtype, entry):
    X = np.array(SMALL_X, dtype)
    X[2, 1] = entry
    errors = [refusal(name, X, SMALL_Y) for name in backend_names]
    assert {type(error) for error in errors} == {UnsupportedError}
    (message,) = {str(error) for error in errors}
    assert f"X[2, 1] = {entry:g}" in message
    assert "rescale the columns or use arithmetic='fast'" in message


@pytest.mark.parametrize(
    ("dtype", "entry", "says"),
    [("float64", 1e101, "the largest entry is 1e+101"), ("float32", 1e13, "X[3, 0] = 1e+13")],
)
def test_entries_whose_products_could_be_infinite_are_refused(backend_names, dtype, entry, says):
    X = np.array(SMALL_X, dtype)
    X[3, 0] = entry
    (message,) = {str(refusal(name, X, SMALL_Y)) for name in backend_names}
    assert says in message


@pytest.mark.parametrize(
    ("dtype", "entry"), [("float64", 1e-99), ("float64", 1e99), ("float32", 1e-11)]
)
def test_entries_at_the_edge_are_trained_on(backend_names, dtype, entry):
    X = np.array(SMALL_X, dtype)
    X[2, 1] = entry
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScaleWarning)
        results = fits(backend_names, X, SMALL_Y, learning_rate=None, epochs=3)
    assert_same(results, X)


@pytest.mark.parametrize("weight", [1e-13, 1e-20])
def test_weights_of_very_different_sizes_are_refused(backend_names, weight):
    errors = [refusal(name, SMALL_X, SMALL_Y, [1, 1, weight, 1]) for name in backend_names]
    assert {type(error) for error in errors} == {UnsupportedError}
    (message,) = {str(error) for error in errors}
    assert "sample weights within a factor of 1e12 of their mean" in message


def test_validation_rows_are_held_to_the_same(backend_names):
    X = np.array(SMALL_X)
    X[1, 0] = 1e-200
    errors = [
        refusal(name, SMALL_X, SMALL_Y, validation_data=(X, SMALL_Y)) for name in backend_names
    ]
    assert {type(error) for error in errors} == {UnsupportedError}
    (message,) = {str(error) for error in errors}
    assert message.startswith("in the validation rows: ")
    assert "X[1, 0] = 1e-200" in message


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"l1": 0.1, "solver": "momentum"}, "takes no proximal steps"),
        ({"dtype": "float16"}, "dtype='float16'"),
    ],
    ids=["l1", "float16"],
)
def test_options_outside_the_specification_are_refused(backend_names, options, reason):
    for name in backend_names:
        with pytest.raises(ValueError, match=reason):
            lrb.Trainer(name, arithmetic="reproducible", **options).fit(SMALL_X, SMALL_Y)


def test_threads_are_refused_where_they_cannot_be_set():
    error = refusal("jax", SMALL_X, SMALL_Y, n_threads=2)
    assert "does not cover n_threads=2" in str(error)


def test_sparse_data_are_refused(backend_name):
    from scipy.sparse import csr_array

    assert "sparse" in str(refusal(backend_name, csr_array(np.array(SMALL_X)), SMALL_Y))


# -- where two backends part


class OffByOne:
    """The NumPy kernels, whose parameter 3 is a unit in the last place off after step 17."""

    def __init__(self, problem, objective, n_threads):
        self.right = get_backend("numpy").compile(problem, objective, "reproducible", n_threads)
        self.decision_function = self.right.decision_function

    def counted(self, state):
        return state.step

    def run(self, rule, state, n_steps, batches):
        records = np.empty((n_steps, 2))
        for t in range(n_steps):
            batch = None if batches is None else Batches(*(part[t : t + 1] for part in batches))
            state, records[t : t + 1] = self.right.run(rule, state, 1, batch)
            if self.counted(state) == 17:
                theta = state.theta.copy()
                theta[3] = np.nextafter(theta[3], np.inf)
                state = state._replace(theta=theta)
        return state, records


class OffByOneOnce(OffByOne):
    """The same, but it counts the steps of all problems and calls together."""

    counts = count()

    def counted(self, state):
        return next(self.counts)


class Reproducible(WrongBackend):
    """Says that it is."""

    def capabilities(self):
        return get_backend("numpy").capabilities()


def pairs(kernels, steps):
    """Return the evidence on NumPy against a wrong backend."""
    backends = ["numpy", Reproducible("off", "", kernels)]
    report = verify(backends, arithmetic="reproducible", steps=steps, checks=["trajectory"])
    assert not [row for row in report.failed if row.backend == "numpy"]
    return [row for row in report.rows if row.backend == "numpy-off"]


def test_the_first_step_and_parameter_are_named():
    failed = [row for row in pairs(OffByOne, 170) if not row.passed]
    assert {row.figure for row in failed} >= {"differing entries", "max ULP"}
    assert {row.case for row in failed} == {run.name for run in trajectory.trajectories(170)}
    for row in failed:
        said, _, values = row.note.partition(": ")
        assert said == "they part at step 17 in parameter 3"
        one, other = map(float.fromhex, values.split(" and "))
        assert np.nextafter(one, np.inf) == other


def test_runs_that_do_not_come_so_far_have_the_same_bits():
    rows = [row for row in pairs(OffByOne, 160) if row.figure == "differing entries"]
    n_steps = {run.name: run.n_steps for run in trajectory.trajectories(160)}
    assert {n_steps[row.case] for row in rows} == {16, 160}
    assert all(row.passed == (n_steps[row.case] == 16) for row in rows)


def test_a_difference_that_does_not_come_back_is_called_that():
    failed = [row for row in pairs(OffByOneOnce, 160) if not row.passed]
    assert {row.note for row in failed} == {"they part in one go, but not in steps 1 to 160 by 64"}
