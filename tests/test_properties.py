"""What must hold for any data, on small grids of halves, where ties and zeros are common."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.linear_model import LogisticRegression

import lrbackends as lrb
from lrbackends.objective import reference_loss_gradient

N, P = 14, 3  # one shape, so that nothing is compiled twice
L2 = 0.125
halves = st.integers(-8, 8).map(lambda k: k / 2)
features = arrays.arrays(np.float64, (N, P), elements=halves)
parameters = arrays.arrays(np.float64, P + 1, elements=halves)
labels = st.permutations(range(N)).flatmap(
    lambda order: st.integers(1, N - 1).map(lambda ones: np.isin(np.arange(N), order[:ones]) * 1)
)
weights = st.none() | arrays.arrays(np.float64, N, elements=st.integers(1, 5).map(float))


def params_of(theta: np.ndarray) -> lrb.Params:
    return lrb.Params(theta[None, :-1], theta[-1:])


def flat(params: lrb.Params) -> np.ndarray:
    return np.append(params.coef, params.intercept).astype(float)


@pytest.fixture(scope="session")
def drift(rounding_bound):
    """How far two runs of plain descent may part when every gradient is rounded otherwise.

    With steps of at most 1/L descent brings two points no further apart, so each step adds at most
    what the two gradients differ by: their rounding errors, taken at weights as large as any met.
    """

    def bound(X, y, n_steps: int, rate: float) -> float:
        problem, objective = lrb.Problem(X, y), lrb.Objective(l2=L2)
        # The penalty keeps |w| below mean|x| / l2, and the intercept moves at most 1 a step.
        largest = np.append(np.abs(X).mean(axis=0) / L2, n_steps * rate)
        limit = rounding_bound(problem, objective, params_of(largest))[1]
        # At such weights a is small where the signs agree; at most it is 1.
        size = np.abs(X) @ largest[:-1] + largest[-1]
        residual = (P + 2) * size / 4 + N + 12
        dz = np.append((residual @ np.abs(X)) / N, residual.mean()) * np.finfo(float).eps
        return 2 * n_steps * rate * float(np.linalg.norm(dz + flat(limit)))

    return bound


@given(X=features, y=labels, theta=parameters, weight=weights)
def test_the_gradient_is_the_slope_of_the_loss(backend_name, rounding_bound, X, y, theta, weight):
    problem, objective = lrb.Problem(X, y, weight), lrb.Objective(l2=L2)
    kernels = lrb.get_backend(backend_name).compile(problem, objective)
    slope = flat(kernels.loss_gradient(params_of(theta))[1])
    h = 2.0**-17
    inputs = np.hstack([X, np.ones((N, 1))])
    for j, step in enumerate(h * np.eye(P + 1)):
        rise = kernels.loss(params_of(theta + step)) - kernels.loss(params_of(theta - step))
        # Taylor: the third derivative of log(1 + exp(m)) is at most 0.1.
        third = 0.1 * np.average(np.abs(inputs[:, j]) ** 3, weights=weight)
        noise = rounding_bound(problem, objective, params_of(np.abs(theta) + h))[0]
        assert abs(rise / (2 * h) - slope[j]) <= h**2 / 6 * third + 2 * noise / h


@given(X=features, y=labels, theta=parameters, weight=weights)
def test_backends_agree_to_rounding(backend_names, rounding_bound, X, y, theta, weight):
    problem, objective = lrb.Problem(X, y, weight), lrb.Objective(l2=L2)
    bound, bounds = rounding_bound(problem, objective, params_of(theta))
    truth = reference_loss_gradient(problem, objective, params_of(theta))
    for name in backend_names:
        kernels = lrb.get_backend(name).compile(problem, objective)
        loss, gradient = kernels.loss_gradient(params_of(theta))
        assert abs(loss - float(truth[0])) <= bound
        assert (np.abs(flat(gradient) - flat(truth[1])) <= flat(bounds)).all()


def train(name: str, X, y, **options) -> lrb.TrainingResult:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lrb.errors.LrbackendsWarning)
        return lrb.Trainer(name, l2=L2, epochs=25, random_state=0, **options).fit(X, y)


@given(X=features, y=labels)
def test_trained_weights_agree_to_rounding(backend_names, drift, X, y):
    first, *others = (train(name, X, y) for name in backend_names)
    for other in others:
        assert other.learning_rate == first.learning_rate
        distance = np.linalg.norm(flat(other.params) - flat(first.params))
        assert distance <= drift(X, y, 25, first.learning_rate)


@pytest.mark.parametrize(
    ("solver", "batch_size"), [("gd", None), ("adam", 5)], ids=["full-batch", "mini-batch"]
)
@given(X=features, y=labels)
@settings(max_examples=15)
def test_swapped_classes_negate_the_weights(backend_name, solver, batch_size, X, y):
    """Every operation is symmetric about zero, so this holds to the last bit."""
    result = train(backend_name, X, y, solver=solver, batch_size=batch_size)
    swapped = train(backend_name, X, 1 - y, solver=solver, batch_size=batch_size)
    assert np.array_equal(swapped.coef, -result.coef)
    assert np.array_equal(swapped.intercept, -result.intercept)
    assert np.array_equal(swapped.history["loss"], result.history["loss"])


@given(X=features, y=labels, data=st.data())
@settings(max_examples=15)
def test_the_order_of_rows_does_not_matter(backend_name, drift, X, y, data):
    order = data.draw(st.permutations(range(N)))
    result = train(backend_name, X, y)
    moved = train(backend_name, X[order], y[order], learning_rate=result.learning_rate)
    distance = np.linalg.norm(flat(moved.params) - flat(result.params))
    assert distance <= drift(X, y, 25, result.learning_rate)


@given(X=features, y=labels, order=st.permutations(range(P)))
@settings(max_examples=15)
def test_weights_move_with_their_features(backend_name, drift, X, y, order):
    result = train(backend_name, X, y)
    moved = train(backend_name, X[:, order], y, learning_rate=result.learning_rate)
    expected = np.append(result.coef[0, order], result.intercept)
    distance = np.linalg.norm(flat(moved.params) - expected)
    assert distance <= drift(X, y, 25, result.learning_rate)


@given(X=features, y=labels)
@settings(max_examples=15)
def test_the_allowance_for_drift_is_small(drift, X, y):
    """Or the three checks above could not fail: a step with the wrong sign is far beyond it."""
    result = train("numpy", X, y)
    allowance = drift(X, y, 25, result.learning_rate)
    assert allowance < 1e-9
    if np.linalg.norm(flat(result.params)) > 0:
        assert np.linalg.norm(2 * flat(result.params)) > 1e3 * allowance


# -- the optimum, against other libraries


@pytest.mark.parametrize(
    ("data", "solver"),
    [("noisy", "gd"), ("noisy", "nesterov"), ("breast_cancer", "nesterov"), ("digits01", "gd")],
)
def test_the_optimum_is_that_of_scikit_learn(request, backend_name, data, solver):
    X, y = request.getfixturevalue(data)
    l2 = 0.1
    ours = lrb.Trainer(backend_name, solver, l2=l2, tol=1e-9, epochs=20_000).fit(X, y)
    assert ours.converged
    # C multiplies the sum of the losses, l2 the mean.
    theirs = LogisticRegression(
        C=1 / (l2 * len(y)), solver="newton-cholesky", tol=1e-10, max_iter=100
    ).fit(X, y)
    assert ours.classes.tolist() == theirs.classes_.tolist()
    # The penalised part is strongly convex: |w - w*| <= |gradient| / l2.
    np.testing.assert_allclose(ours.coef, theirs.coef_, atol=1e-7)
    np.testing.assert_allclose(ours.intercept, theirs.intercept_, atol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    assert ours.predict(X).tolist() == theirs.predict(X).tolist()


def test_the_weighted_optimum_is_that_of_scikit_learn(backend_name, noisy, row_weights):
    ours = lrb.Trainer(backend_name, "nesterov", l2=0.1, tol=1e-10, epochs=5000).fit(
        *noisy, sample_weight=row_weights
    )
    theirs = LogisticRegression(
        C=1 / (0.1 * row_weights.sum()), solver="newton-cholesky", tol=1e-10
    ).fit(*noisy, sample_weight=row_weights)
    np.testing.assert_allclose(ours.coef, theirs.coef_, atol=1e-8)
    np.testing.assert_allclose(ours.intercept, theirs.intercept_, atol=1e-8)


def test_the_unpenalised_optimum_is_that_of_statsmodels(backend_name, noisy):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api = pytest.importorskip("statsmodels.api")
    ours = lrb.Trainer(backend_name, "nesterov", tol=1e-10, epochs=20_000).fit(*noisy)
    theirs = api.Logit(noisy.y, api.add_constant(noisy.X)).fit(disp=0, method="newton", tol=1e-12)
    np.testing.assert_allclose(np.append(ours.intercept, ours.coef), theirs.params, rtol=1e-7)
