import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import lrbackends as lrb
from lrbackends.solvers import augmented_gram, safe_rate, smoothness


def hessian(problem: lrb.Problem, objective: lrb.Objective, theta: np.ndarray) -> np.ndarray:
    """The Hessian of the objective, by its definition."""
    X = np.hstack([problem.X, np.ones((problem.n_samples, 1))])
    m = problem.sign * (X @ theta)
    e = np.exp(-np.abs(m))
    curvature = problem.weight * e / (1 + e) ** 2 / problem.n_samples
    penalty = np.append(np.full(problem.n_features, objective.l2), 0.0)
    full = X.T @ (curvature[:, None] * X) + np.diag(penalty)
    return full if objective.fit_intercept else full[:-1, :-1]


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("l2", [0.0, 0.5])
def test_no_curvature_exceeds_the_bound(noisy, row_weights, fit_intercept, l2):
    objective = lrb.Objective(l2=l2, fit_intercept=fit_intercept)
    rng = np.random.default_rng(0)
    for weight in (None, row_weights):
        problem = lrb.Problem(*noisy, weight)
        bound = smoothness(problem, objective)
        for scale in (0.0, 0.1, 1.0, 10.0):
            theta = scale * rng.normal(size=4) * ([1, 1, 1, fit_intercept])
            assert np.linalg.eigvalsh(hessian(problem, objective, theta))[-1] <= bound * (1 + 1e-14)


def test_the_bound_is_reached_at_the_start(noisy):
    """At w = 0 every sample has the full curvature of 1/4, so no smaller constant would be safe."""
    problem, objective = lrb.Problem(*noisy), lrb.Objective()
    top = np.linalg.eigvalsh(hessian(problem, objective, np.zeros(4)))[-1]
    assert smoothness(problem, objective) == pytest.approx(top, rel=1e-13)


@pytest.mark.parametrize("block_bytes", [1 << 20, 500])
def test_the_gram_matrix_is_the_weighted_mean_of_products(
    monkeypatch, noisy, row_weights, block_bytes
):
    monkeypatch.setattr("lrbackends.problem._BLOCK_BYTES", block_bytes)
    X = np.hstack([noisy.X, np.ones((60, 1))])
    mean = (X.T * row_weights) @ X / row_weights.sum()
    problem = lrb.Problem(*noisy, row_weights)
    np.testing.assert_allclose(augmented_gram(problem, True), mean, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(augmented_gram(problem, False), mean[:3, :3], rtol=1e-13, atol=1e-15)


def test_the_gram_matrix_of_many_blocks(breast_cancer):
    """More rows than one block holds."""
    X, y = np.tile(breast_cancer.X, (10, 1)), np.tile(breast_cancer.y, 10)
    once = augmented_gram(lrb.Problem(*breast_cancer), True)
    np.testing.assert_allclose(augmented_gram(lrb.Problem(X, y), True), once, atol=1e-13)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(
    "kind", ["random", "mirrored", "mirrored-centred", "one-large", "weighted"]
)
def test_many_features_give_an_upper_estimate_close_to_the_dense_one(kind, fit_intercept):
    """Above 256 features Lanczos estimates the eigenvalue; it must not come out too small.

    Mirrored columns make the iteration's first vector, all ones, orthogonal to the answer.
    """
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(90, 300)), None
    if kind.startswith("mirrored"):
        half = X[:, :150] - (X[:, :150].mean(axis=0) if kind.endswith("centred") else 0.0)
        X = np.hstack([half, -half])
    elif kind == "one-large":
        X[:, 17] *= 1000.0
    elif kind == "weighted":
        weight = rng.integers(1, 5, size=90).astype(float)
    problem = lrb.Problem(X, np.arange(90) % 2, weight)
    objective = lrb.Objective(l2=0.1, fit_intercept=fit_intercept)
    dense = np.linalg.eigvalsh(augmented_gram(problem, fit_intercept))[-1] / 4 + 0.1
    assert dense <= smoothness(problem, objective) <= 1.03 * dense


@pytest.mark.parametrize("n_features", [3, 300])
def test_only_ratios_of_weights_matter(n_features):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, n_features)), np.arange(40) % 2
    weight = rng.integers(1, 4, size=40)
    objective = lrb.Objective(l2=0.1)
    once = smoothness(lrb.Problem(X, y, weight), objective)
    assert smoothness(lrb.Problem(X, y, 2 * weight), objective) == once
    repeated = lrb.Problem(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    # The iteration for many features stops at a relative tolerance of 1e-2.
    near = 1e-12 if n_features == 3 else 1e-2
    assert smoothness(repeated, objective) == pytest.approx(once, rel=near)


def test_batches_lie_between_all_rows_and_the_largest_row(noisy, row_weights):
    problem, objective = lrb.Problem(*noisy, row_weights), lrb.Objective(l2=0.1)
    squares = (problem.X**2).sum(axis=1) + 1.0
    row = (problem.weight * squares).max() / 4 + 0.1
    whole = smoothness(problem, objective)
    sizes = [1, 2, 5, 10, 30, problem.n_samples]
    found = [smoothness(problem, objective, size) for size in sizes]
    assert found[0] == pytest.approx(row, rel=1e-14)
    assert found[-1] == whole
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found)
    assert smoothness(problem, objective, 10_000) == whole


FORMS = {
    "uint8": lambda X: X.astype(np.uint8),
    "float32": lambda X: X.astype(np.float32),
    "csr": lambda X: sparse.csr_array(X.astype(np.float64)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n_features", [3, 300])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_form_of_the_same_numbers_has_the_same_bound(form, n_features, weighted, monkeypatch):
    monkeypatch.setattr("lrbackends.problem._BLOCK_BYTES", 1 << 15)  # several blocks
    rng = np.random.default_rng(0)
    X = np.where(rng.random((90, n_features)) < 0.5, 0.0, rng.integers(0, 9, (90, n_features)))
    weight = rng.integers(1, 5, size=90) if weighted else None
    plain = lrb.Problem(X, np.arange(90) % 2, weight)
    other = lrb.Problem(FORMS[form](X), np.arange(90) % 2, weight, dtype="float64")
    near = 0.0 if form != "csr" else 1e-12
    for size in (None, 7, 1):
        expected = smoothness(plain, lrb.Objective(), size)
        assert smoothness(other, lrb.Objective(), size) == pytest.approx(expected, rel=near)
    np.testing.assert_array_equal(augmented_gram(other, True), augmented_gram(plain, True))


@pytest.mark.parametrize("n_features", [30, 300])
def test_narrow_data_are_not_widened_as_a_whole(n_features):
    n = 6_000_000 // n_features
    X = np.random.default_rng(0).integers(0, 9, (n, n_features), dtype=np.uint8)
    problem = lrb.Problem(X, np.arange(n) % 2)
    smoothness(problem, lrb.Objective(), 10)  # imports what it needs
    tracemalloc.start()
    smoothness(problem, lrb.Objective(), 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 4 * n + (12 << 20) < 8 * X.size


def test_float32_data_have_the_bound_of_their_values(noisy):
    single = lrb.Problem(*noisy, dtype="float32")
    double = lrb.Problem(single.X.astype(np.float64), noisy.y)
    for size in (None, 7):
        assert smoothness(single, lrb.Objective(), size) == pytest.approx(
            smoothness(double, lrb.Objective(), size), rel=1e-6
        )


@given(st.floats(1e-280, 1e280))
def test_the_rate_is_just_below_one_over_the_bound(curvature):
    rate = safe_rate(curvature)
    assert 0 < rate <= 1 / curvature
    assert rate > (1 - 2**-9) / curvature
    assert float(np.float32(np.frexp(rate)[0])) == np.frexp(rate)[0]


def test_the_rate_does_not_see_the_last_digits_of_the_bound():
    assert safe_rate(0.7 * (1 + 1e-13)) == safe_rate(0.7 * (1 - 1e-13))


@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.floats(1e-3, 1e3),
    fit_intercept=st.booleans(),
    l2=st.sampled_from([0.0, 0.01, 1.0, 100.0]),
)
def test_descent_with_the_default_rate_never_rises(seed, scale, fit_intercept, l2):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(30, 3)) * scale + rng.normal(size=3)
    y = np.append([0, 1], rng.integers(0, 2, size=28))
    init = rng.normal(size=3) / scale, rng.normal() * fit_intercept
    result = lrb.Trainer(
        "numpy", l2=l2 + 1e-9, fit_intercept=fit_intercept, init=init, epochs=60
    ).fit(X, y)
    losses = np.array([result.initial_loss, *result.history["loss"]])
    eps = np.finfo(float).eps
    assert (np.diff(losses) <= 4 * len(X) * eps * losses[:-1]).all()
