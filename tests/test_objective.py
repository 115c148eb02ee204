import tracemalloc
from decimal import Decimal, localcontext

import numpy as np
import pytest
from scipy import sparse

from lrbackends import Objective, Params, Problem
from lrbackends.objective import (
    EXACT_DIGITS,
    accuracy,
    as_params,
    exact_loss_gradient,
    exact_sigmoid_and_loss,
    log_loss,
    mean_log_loss,
    reference_loss_gradient,
    scores,
    sigmoid,
)

SCORES = [0.0, 1e-300, 1e-20, 0.3, -0.3, 1.0, -1.0, 17.9, -17.9, 36.8, -36.8, 100.0, -100.0, -700.0]


def ulps(actual, exact: Decimal) -> float:
    """Return the distance of a float to an exact number in units of its last place."""
    return float(abs(Decimal(float(actual)) - exact) / Decimal(float(np.spacing(abs(actual)))))


@pytest.mark.parametrize("z", SCORES)
def test_sigmoid_and_loss_keep_their_digits(z):
    with localcontext() as context:
        context.prec = EXACT_DIGITS
        probability, loss = exact_sigmoid_and_loss(Decimal(z))
    assert ulps(sigmoid(z), probability) <= 3
    assert ulps(log_loss(z, 0), loss) <= 3
    assert ulps(log_loss(-z, 1), loss) <= 3


@pytest.mark.parametrize("z", [1e4, -1e4, 1e308, -1e308, np.inf, -np.inf])
def test_sigmoid_and_loss_never_overflow(z):
    assert sigmoid(z) == (z > 0)
    assert log_loss(z, 0) == max(z, 0.0)
    assert log_loss(z, 1) == max(-z, 0.0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "longdouble"])
def test_sigmoid_keeps_the_type(dtype):
    assert sigmoid(np.array([-1, 2], dtype)).dtype == dtype


def test_the_exact_loss_has_no_seam_where_its_series_begins():
    with localcontext() as context:
        context.prec = EXACT_DIGITS
        below, above = (exact_sigmoid_and_loss(Decimal(m))[1] for m in ("-60.0001", "-59.9999"))
        ratio = (above / below).ln()
    assert float(ratio) == pytest.approx(0.0002, rel=1e-12)


def test_a_sample_worked_by_hand():
    """x = 2, w = 0: z = 0, a = 1/2, so the loss is log 2, dz = -1/2, dw = -1, db = -1/2."""
    problem = Problem([[2.0], [-1.0]], [1, 0])
    start = Params(np.zeros((1, 1)), np.zeros(1))
    loss, gradient = reference_loss_gradient(problem, Objective(), start)
    assert float(loss) == pytest.approx(np.log(2.0), rel=1e-15)
    assert gradient.coef.tolist() == [[(-1.0 - 0.5) / 2]]
    assert gradient.intercept.tolist() == [0.0]


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_reference_agrees_with_exact_arithmetic(
    noisy, row_weights, rounding_bound, scale, fit_intercept
):
    problem = Problem(noisy.X[:20], noisy.y[:20], row_weights[:20])
    objective = Objective(l2=0.3, l1=0.2, fit_intercept=fit_intercept)
    params = Params(scale * np.array([[0.7, -0.2, 0.4]]), scale * np.array([0.1]))
    loss, gradient = reference_loss_gradient(problem, objective, params)
    exact_loss, exact_dw, (exact_db,) = exact_loss_gradient(problem, objective, params)
    # A long double is a double on some machines.
    bound, bounds = rounding_bound(problem, objective, params, np.longdouble)
    eps = float(np.finfo(np.float64).eps)
    assert abs(float(loss) - float(exact_loss)) <= bound + eps * float(exact_loss)
    for value, exact, limit in zip(gradient.coef[0], exact_dw, bounds.coef[0], strict=True):
        assert abs(float(value) - float(exact)) <= limit + eps * abs(float(exact))
    assert abs(float(gradient.intercept[0]) - float(exact_db)) <= bounds.intercept[0] + eps * abs(
        float(exact_db)
    )


FORMS = {
    "float32": lambda X: X.astype(np.float32),
    "int8": lambda X: X.astype(np.int8),
    "csr": lambda X: sparse.csr_array(X.astype(np.float64)),
}


@pytest.fixture
def whole_numbers(noisy):
    """Data that every form can hold, with zeros among them."""
    return (noisy.X * 3).round()[:20]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_the_references_read_every_form(
    monkeypatch, noisy, whole_numbers, row_weights, form, scale
):
    monkeypatch.setattr("lrbackends.problem._BLOCK_BYTES", 500)  # several blocks
    y, weight = noisy.y[:20], row_weights[:20]
    plain = Problem(whole_numbers, y, weight)
    other = Problem(FORMS[form](whole_numbers), y, weight, dtype="float64")
    params = Params(scale * np.array([[0.7, -0.2, 0.4]]), scale * np.array([0.1]))
    objective = Objective(l2=0.3, l1=0.2)
    assert exact_loss_gradient(other, objective, params) == exact_loss_gradient(
        plain, objective, params
    )
    loss, gradient = reference_loss_gradient(plain, objective, params)
    other_loss, other_gradient = reference_loss_gradient(other, objective, params)
    assert gradient.coef.dtype == other_gradient.coef.dtype == np.longdouble
    assert float(abs(loss - other_loss)) <= 1e-18 + 1e-15 * (np.finfo(np.longdouble).nmant == 52)
    np.testing.assert_allclose(
        np.float64(other_gradient.coef), np.float64(gradient.coef), rtol=1e-15
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("form", FORMS)
def test_scores_of_every_form(monkeypatch, whole_numbers, form, dtype):
    monkeypatch.setattr("lrbackends.problem._BLOCK_BYTES", 500)
    params = Params(np.array([[0.7, -0.2, 0.4]], dtype), np.array([0.1], dtype))
    X = FORMS[form](whole_numbers)
    wide = scores(whole_numbers.astype(dtype), params)
    z = scores(X.astype(dtype) if form == "csr" else X, params)
    assert z.dtype == wide.dtype == dtype
    if form == "csr":  # added up in another order
        np.testing.assert_allclose(z, wide, rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)
    else:
        assert z.tobytes() == wide.tobytes()
    np.testing.assert_allclose(
        z, whole_numbers @ [0.7, -0.2, 0.4] + 0.1, atol=8 * np.finfo(dtype).eps
    )


def test_scores_of_narrow_rows_make_no_wide_copy():
    X = np.ones((400_000, 20), np.uint8)
    params = Params(np.ones((1, 20)), np.zeros(1))
    tracemalloc.start()
    scores(X, params)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400_000 * 8 + (4 << 20)


def test_the_intercept_is_not_penalised(noisy):
    problem = Problem(*noisy)
    params = Params(np.zeros((1, 3)), np.array([2.0]))
    free = reference_loss_gradient(problem, Objective(), params)
    penalised = reference_loss_gradient(problem, Objective(l2=5.0, l1=5.0), params)
    assert free[0] == penalised[0]
    assert free[1].intercept == penalised[1].intercept


def test_mean_log_loss_is_weighted(noisy, row_weights):
    problem = Problem(*noisy, row_weights)
    z = problem.X[:, 0]
    expected = np.average(log_loss(noisy.X[:, 0], noisy.y), weights=row_weights)
    assert mean_log_loss(z, problem) == pytest.approx(expected, rel=1e-14)


def test_a_score_of_zero_predicts_the_first_class():
    problem = Problem([[1.0], [1.0], [1.0], [1.0]], [0, 1, 1, 1])
    assert accuracy(np.array([0.0, 0.0, 1e-300, -1.0]), problem) == 0.5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"l2": -1.0}, ValueError, "l2 must be a finite number >= 0, got -1.0"),
        ({"l2": np.nan}, ValueError, "l2 must be a finite number >= 0, got nan"),
        ({"l1": np.inf}, ValueError, "l1 must be a finite number >= 0, got inf"),
        ({"l1": "0.1"}, TypeError, "l1 must be a number, got '0.1'"),
        ({"l2": True}, TypeError, "l2 must be a number, got True"),
        ({"fit_intercept": 1}, TypeError, "fit_intercept must be True or False, got 1"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_wrong_penalties_are_refused(options, error, message):
    with pytest.raises(error) as caught:
        Objective(**options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "given",
    [
        ([1.0, 2.0, 3.0], 4.0),
        ([[1.0, 2.0, 3.0]], [4.0]),
        (np.float32([[1], [2], [3]]), np.int64([4])),
    ],
    ids=["flat", "full", "other-types"],
)
def test_params_take_the_shapes_and_type_of_the_problem(noisy, given):
    params = as_params(given, Problem(*noisy))
    assert params.coef.tolist() == [[1.0, 2.0, 3.0]]
    assert params.intercept.tolist() == [4.0]
    assert params.coef.dtype == params.intercept.dtype == np.float64


@pytest.mark.parametrize("given", [([1.0, 2.0], 0.0), ([1.0, 2.0, 3.0], [0.0, 0.0])])
def test_params_of_other_shapes_are_refused(noisy, given):
    with pytest.raises(ValueError, match=r"expected coef \(1, 3\) and intercept \(1,\)"):
        as_params(given, Problem(*noisy))
