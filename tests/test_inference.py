"""Standard errors and tests: against statsmodels, the formulas, and what must be refused."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import lrbackends as lrb
from lrbackends.backends.protocol import pack, unpack
from lrbackends.errors import UnsupportedError
from lrbackends.inference import Inference, infer
from lrbackends.objective import reference_hessian, reference_loss_gradient

FREE = lrb.Objective()
RIDGE = lrb.Objective(l2=0.03)
NULL = 1e-9  # statsmodels finds the null model by iterations that stop early


def optimum(problem: lrb.Problem, objective: lrb.Objective) -> lrb.Params:
    """Newton's method in extended precision, by the slow reference."""
    theta = np.zeros(problem.n_outputs * (problem.n_features + 1))
    for _ in range(20):
        params = unpack(theta, problem.n_features)
        gradient = pack(reference_loss_gradient(problem, objective, params)[1]).astype(float)
        hessian = reference_hessian(problem, objective, params).astype(float)
        theta = theta - np.linalg.pinv(hessian, rcond=1e-11) @ gradient
    return unpack(theta, problem.n_features)


def inferred(X, y, weight=None, objective=FREE, **options) -> Inference:
    problem = lrb.Problem(X, y, weight)
    return infer(problem, objective, optimum(problem, objective), **options)


@pytest.fixture(scope="module")
def three(noisy):
    """The rows of ``noisy`` in three overlapping classes."""
    z = noisy.X @ [[1.0, -0.5], [0.3, 0.8], [0.0, 0.4]]
    noise = np.random.default_rng(2).gumbel(size=(60, 3))
    labels = (np.column_stack([np.zeros(60), z]) + noise).argmax(axis=1)
    return noisy.X, np.array(["ash", "birch", "cedar"])[labels]


# -- against statsmodels


@pytest.fixture(scope="module")
def sm():
    return pytest.importorskip("statsmodels.api")


def columns(X, intercept=True):
    return np.column_stack([X, np.ones(len(X))]) if intercept else X


def assert_like_statsmodels(found: Inference, theirs, rtol=1e-9):
    """``theirs`` has the parameters of one class after another, the constant last."""

    def flat(part):
        joined = np.concatenate([part.coef, part.intercept[:, None]], axis=1)
        return joined if found.fit_intercept else joined[:, :-1]

    def close(ours, others):
        np.testing.assert_allclose(ours, others, rtol=rtol, atol=1e-12)

    rows = len(found.coef)
    close(flat(lrb.Params(found.coef, found.intercept)), np.reshape(theirs.params.T, (rows, -1)))
    for ours, others in (
        (found.standard_errors, theirs.bse),
        (found.z_values, theirs.tvalues),
        (found.p_values, theirs.pvalues),
    ):
        close(flat(ours), np.reshape(others.T, (rows, -1)))
    for level in (0.95, 0.5):
        intervals = found.confidence_intervals(level)
        ends = np.reshape(theirs.conf_int(1 - level), (rows, -1, 2))
        for end in (0, 1):
            of_end = lrb.Params(intervals.coef[..., end], intervals.intercept[..., end])
            close(flat(of_end), ends[..., end])
    p = found.coef.shape[1] + found.fit_intercept
    order = np.arange(rows * p).reshape(rows, p)
    order = np.append(order[:, : found.coef.shape[1]], order[:, found.coef.shape[1] :])
    close(found.covariance, np.asarray(theirs.cov_params())[np.ix_(order, order)])
    close(found.log_likelihood, theirs.llf)
    close(found.aic, theirs.aic)
    assert found.df_residual == theirs.df_resid


def test_two_classes_are_like_logit(noisy, sm, backend_name):
    found = inferred(*noisy, backend=backend_name)
    theirs = sm.Logit(noisy.y, columns(noisy.X)).fit(tol=1e-12, maxiter=100, disp=0)
    assert_like_statsmodels(found, theirs)
    assert found.df_model == theirs.df_model
    assert found.null_log_likelihood == pytest.approx(theirs.llnull, rel=NULL)
    assert found.pseudo_r2 == pytest.approx(theirs.prsquared, rel=NULL)
    assert found.likelihood_ratio_p_value == pytest.approx(theirs.llr_pvalue, rel=1e-9)
    assert found.bic == pytest.approx(theirs.bic, rel=1e-12)


def test_weights_are_like_frequencies_of_a_glm(noisy, row_weights, sm, backend_name):
    found = inferred(*noisy, row_weights, backend=backend_name)
    model = sm.GLM(noisy.y, columns(noisy.X), sm.families.Binomial(), freq_weights=row_weights)
    theirs = model.fit(tol_criterion="params", tol=1e-14, maxiter=100)
    assert_like_statsmodels(found, theirs)
    assert found.deviance == pytest.approx(theirs.deviance, rel=1e-12)
    assert found.null_deviance == pytest.approx(theirs.null_deviance, rel=1e-12)


def test_without_an_intercept(noisy, sm, backend_name):
    objective = lrb.Objective(fit_intercept=False)
    found = inferred(*noisy, objective=objective, backend=backend_name)
    assert_like_statsmodels(found, sm.Logit(noisy.y, noisy.X).fit(tol=1e-12, disp=0))
    assert found.covariance.shape == (3, 3)
    assert np.isnan(found.standard_errors.intercept).all()
    assert found.df_model == found.df == 3
    assert found.null_deviance == pytest.approx(2 * 60 * np.log(2))
    assert "intercept" not in found.summary()


def test_more_classes_are_like_mnlogit(three, sm, backend_name):
    X, y = three
    found = inferred(X, y, backend=backend_name)
    theirs = sm.MNLogit(y, columns(X)).fit(tol=1e-12, maxiter=100, disp=0)
    assert_like_statsmodels(found, theirs)
    assert found.df_model == theirs.df_model
    assert found.null_log_likelihood == pytest.approx(theirs.llnull, rel=NULL)
    assert found.likelihood_ratio_p_value == pytest.approx(theirs.llr_pvalue, rel=1e-9)


# -- weights, and what must not matter


@pytest.mark.parametrize("objective", [FREE, RIDGE], ids=["free", "ridge"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_weight_counts_repeated_rows(noisy, three, row_weights, objective, classes):
    X, y = noisy if classes == 2 else three
    repeats = row_weights.astype(int)
    weighted = inferred(X, y, row_weights, objective)
    repeated = inferred(np.repeat(X, repeats, axis=0), np.repeat(y, repeats), None, objective)
    np.testing.assert_allclose(weighted.covariance, repeated.covariance, rtol=1e-10, atol=1e-14)
    assert weighted.n_observations == repeats.sum()
    for name in ("deviance", "null_deviance", "aic", "bic", "df", "df_residual"):
        assert getattr(weighted, name) == pytest.approx(getattr(repeated, name), rel=1e-11)
    unweighted = inferred(X, y, None, objective)
    assert not np.allclose(weighted.covariance, unweighted.covariance, rtol=0.01)


@pytest.mark.parametrize("form", ["csr", "float32", "int8"])
def test_the_form_of_the_data_does_not_matter(noisy, backend_name, form):
    X = (4 * noisy.X).round()
    if form == "csr" and not lrb.get_backend(backend_name).capabilities().sparse:
        pytest.skip("this backend takes no sparse X")
    change = sparse.csr_array if form == "csr" else np.dtype(form).type
    problem = lrb.Problem(change(X), noisy.y)
    params = optimum(lrb.Problem(X, noisy.y), FREE)
    found = infer(problem, FREE, params, backend=backend_name)
    np.testing.assert_allclose(found.covariance, inferred(X, noisy.y).covariance, rtol=1e-11)
    assert found.coef.dtype == found.covariance.dtype == np.float64


@pytest.mark.parametrize("objective", [FREE, RIDGE], ids=["free", "ridge"])
def test_the_same_change_of_all_classes_changes_nothing_but_the_penalty(three, objective):
    """The likelihood sees differences alone."""
    problem = lrb.Problem(*three)
    params = optimum(problem, objective)
    found = infer(problem, objective, params)
    moved = infer(problem, objective, lrb.Params(params.coef + 0.5, params.intercept - 2))
    np.testing.assert_allclose(moved.covariance, found.covariance, rtol=1e-9)


# -- the penalised model, by its formulas


def contrasts(outputs: int, p: int) -> np.ndarray:
    """The matrix that takes all parameters to those reported."""
    if outputs == 1:
        return np.eye(p + 1)
    one = np.column_stack([-np.ones(outputs - 1), np.eye(outputs - 1)])
    coef = np.kron(one, np.eye(p))
    zeros = np.zeros((len(coef), outputs))
    return np.block([[coef, zeros], [np.zeros((len(one), coef.shape[1])), one]])


@pytest.mark.parametrize("kind", ["bayesian", "frequentist"])
@pytest.mark.parametrize("classes", [2, 3])
def test_penalised_covariances_follow_the_formulas(
    noisy, three, row_weights, backend_name, classes, kind
):
    """Here by pseudo-inverses of all K rows, there by the inverse of the contrasts' Hessian."""
    X, y = noisy if classes == 2 else three
    problem = lrb.Problem(X, y, row_weights)
    params = optimum(problem, RIDGE)
    found = infer(problem, RIDGE, params, backend=backend_name, covariance=kind)
    free, whole = (reference_hessian(problem, o, params).astype(float) for o in (FREE, RIDGE))
    inverse = np.linalg.pinv(whole, rcond=1e-12)
    middle = inverse if kind == "bayesian" else inverse @ free @ inverse
    take = contrasts(problem.n_outputs, 3)
    expected = take @ middle @ take.T / row_weights.sum()
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-9, atol=1e-12)
    assert found.df == pytest.approx(np.trace(inverse @ free), rel=1e-9)
    assert np.isnan(found.likelihood_ratio_p_value)


def test_a_penalty_uses_up_fewer_parameters(noisy):
    df = [inferred(*noisy, objective=lrb.Objective(l2=l2)).df for l2 in (0, 1e-9, 0.1, 1e6)]
    assert df[0] == 4
    assert df[1] == pytest.approx(4, abs=1e-6)
    assert 1 < df[2] < 4
    assert df[3] == pytest.approx(1, abs=1e-4)


def test_the_frequentist_covariance_is_that_of_repeated_samples(noisy):
    """Draw labels from a known model 800 times; deviations are then known to 2.5 %.

    Where the penalty moves probabilities little, or it would change the variance of the labels too.
    """
    X, rng = np.tile(noisy.X, (5, 1)), np.random.default_rng(5)
    objective = lrb.Objective(l2=0.2)
    chance = 1 / (1 + np.exp(-X @ [0.3, -0.2, 0.1]))
    trainer = lrb.Trainer("numpy", "newton", l2=0.2)
    coefs = [trainer.fit(X, rng.random(len(X)) < chance).coef[0] for _ in range(800)]
    expected = lrb.Problem(
        np.vstack([X, X]), np.repeat([1, 0], len(X)), np.append(chance, 1 - chance)
    )
    found = {
        kind: infer(expected, objective, optimum(expected, objective), covariance=kind)
        for kind in ("bayesian", "frequentist")
    }
    spread = np.std(coefs, axis=0)
    assert np.abs(found["frequentist"].standard_errors.coef[0] / spread - 1).max() < 0.1
    assert np.abs(found["bayesian"].standard_errors.coef[0] / spread - 1).min() > 0.2


# -- what is refused


def test_an_absolute_penalty_is_refused(noisy):
    problem = lrb.Problem(*noisy)
    with pytest.raises(UnsupportedError, match=r"do not exist for l1=0.1.*use l1=0"):
        infer(problem, lrb.Objective(l1=0.1), optimum(problem, FREE))


def test_a_backend_without_second_derivatives_is_refused(noisy):
    class Plain(type(lrb.get_backend("numpy"))):
        def capabilities(self):
            return dataclasses.replace(super().capabilities(), hessian=False)

    with pytest.raises(UnsupportedError, match=r"second derivatives.* use another backend"):
        inferred(*noisy, backend=Plain())


@pytest.mark.parametrize("classes", [2, 3])
def test_separated_classes_are_refused(noisy, classes):
    y = np.digitize(noisy.X[:, 0], [0.05, 1.0][: classes - 1])
    problem = lrb.Problem(noisy.X, y)
    start = unpack(np.zeros(problem.n_outputs * 4), 3)
    with pytest.raises(ValueError, match=r"separated completely.*set l2 > 0"):
        infer(problem, FREE, start)
    assert np.isfinite(inferred(noisy.X, y, objective=RIDGE).covariance).all()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("copy", r"columns 0 \('a'\), 3 \('d'\) of X are linearly dependent.*drop one or set l2"),
        ("constant", r"column 3 \('d'\) and the intercept of X are linearly dependent"),
        ("zeros", r"column 3 \('d'\) of X is all zero.*drop it or set l2"),
    ],
)
@pytest.mark.parametrize("classes", [2, 3])
def test_what_has_no_unique_optimum_is_named(noisy, three, classes, extra, message):
    X, y = noisy if classes == 2 else three
    column = {"copy": X[:, 0], "constant": np.full(60, 2.0), "zeros": np.zeros(60)}[extra]
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(d=column)
    with pytest.raises(ValueError, match=message):
        inferred(frame, y)
    assert (inferred(frame, y, objective=RIDGE).standard_errors.coef > 0).all()


@pytest.mark.parametrize("seed", range(8))
def test_rounding_hides_no_dependence(noisy, seed):
    """Rounded, some singular Hessians have Cholesky factors."""
    X = np.column_stack([noisy.X, noisy.X @ np.random.default_rng(seed).normal(size=3)])
    with pytest.raises(ValueError, match="columns 0, 1, 2, 3 of X are linearly dependent"):
        inferred(X, noisy.y)


@pytest.mark.parametrize("objective", [FREE, RIDGE], ids=["free", "ridge"])
@pytest.mark.parametrize("classes", [2, 3])
def test_parameters_away_from_the_optimum_are_refused(noisy, three, objective, classes):
    problem = lrb.Problem(*(noisy if classes == 2 else three))
    params = optimum(problem, objective)
    error = infer(problem, objective, params).standard_errors.coef[-1, 1]
    for share, allowed in ((0.004, True), (0.1, False)):
        coef = params.coef.copy()
        coef[-1, 1] += share * error
        if allowed:
            infer(problem, objective, lrb.Params(coef, params.intercept))
        else:
            with pytest.raises(ValueError, match=r"0\.\d+ standard errors from the optimum"):
                infer(problem, objective, lrb.Params(coef, params.intercept))


WRONG = {
    "weights": lambda X, y, w: (X, y, np.ones_like(w)),
    "labels": lambda X, y, w: (X, 1 - y, w),
    "columns": lambda X, y, w: (X[:, ::-1], y, w),
    "shifted": lambda X, y, w: (X + 0.1, y, w),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_data_that_the_model_was_not_trained_on_are_noticed(noisy, row_weights, wrong):
    data = (*noisy, row_weights)
    params = optimum(lrb.Problem(*data), FREE)
    infer(lrb.Problem(*data), FREE, params)
    with pytest.raises(ValueError, match="on the same rows, weights and penalty"):
        infer(lrb.Problem(*WRONG[wrong](*data)), FREE, params)
    with pytest.raises(ValueError, match="on the same rows, weights and penalty"):
        infer(lrb.Problem(*data), RIDGE, params)


@pytest.mark.parametrize("objective", [FREE, RIDGE], ids=["free", "ridge"])
def test_a_class_without_rows_is_refused(three, objective):
    X, y = three
    kept = y != "birch"
    problem = lrb.Problem(X[kept], y[kept], classes=["ash", "birch", "cedar"])
    with pytest.raises(ValueError, match=r"no row of class 'birch'.*leave it out"):
        infer(problem, objective, unpack(np.zeros(12), 3))


@pytest.mark.parametrize(
    ("params", "options", "message"),
    [
        (([np.nan, 0, 0], [0]), {}, "NaN or infinite"),
        (([0, 0], [0]), {}, r"expected coef \(1, 3\)"),
        (([0, 0, 0], [0]), {"covariance": "sandwich"}, "covariance='sandwich'"),
    ],
)
def test_wrong_arguments_are_named(noisy, params, options, message):
    with pytest.raises(ValueError, match=message):
        infer(lrb.Problem(*noisy), FREE, params, **options)


def test_an_intercept_that_the_objective_lacks_is_refused(noisy):
    with pytest.raises(ValueError, match="fit_intercept=False"):
        infer(lrb.Problem(*noisy), lrb.Objective(fit_intercept=False), ([1, 0, 0], [0.5]))


@pytest.mark.parametrize("level", [0, 1, 95, np.nan])
def test_wrong_levels_are_refused(noisy, level):
    with pytest.raises(ValueError, match="level"):
        inferred(*noisy).confidence_intervals(level)


# -- the text


SUMMARY = """\
                              Logistic regression
================================================================================
Classes:                             2    Log-likelihood:               -25.9322
Observations:                       60    LL of null model:             -35.7644
Df model:                            3    Pseudo R-squared:               0.2749
Df residuals:                       56    LLR p-value:                 0.0001992
L2 penalty:                          0    AIC:                           59.8644
Covariance:        inverse information    BIC:                           68.2418
================================================================================
yes                        coef    std err       z   P>|z|     [0.025     0.975]
--------------------------------------------------------------------------------
dose                      1.048     0.3901   2.686   0.007     0.2832      1.812
age                       1.004     0.4101   2.447   0.014     0.1997      1.807
a name that is muc…      0.3007     0.3727   0.807   0.420    -0.4298      1.031
(intercept)              -1.248     0.3881  -3.216   0.001     -2.009    -0.4874
================================================================================
Log-odds of each class named above its table against class 'no'.
"""


def test_summary_of_two_classes(noisy):
    frame = pd.DataFrame(noisy.X, columns=["dose", "age", "a name that is much too long"])
    found = inferred(frame, np.where(noisy.y, "yes", "no"))
    assert found.summary() == str(found) == SUMMARY


def test_summary_of_more_classes_has_a_table_for_each(three):
    text = inferred(*three, objective=RIDGE, covariance="frequentist").summary(0.9)
    assert max(map(len, text.splitlines())) <= 80
    assert [line.split()[0] for line in text.splitlines() if "std err" in line] == [
        "birch",
        "cedar",
    ]
    assert text.count("(intercept)") == 2
    assert "[0.05" in text
    assert "against class 'ash'" in text
    assert "penalised" in text


@pytest.mark.filterwarnings("ignore::lrbackends.errors.ScaleWarning")
@pytest.mark.parametrize("scale", [1e-7, 1e7])
def test_numbers_of_any_size_stay_in_their_columns(noisy, scale):
    params = optimum(lrb.Problem(*noisy), FREE)
    problem = lrb.Problem(noisy.X * scale, noisy.y)
    scaled = lrb.Params(params.coef / scale, params.intercept)
    lines = infer(problem, FREE, scaled).summary().splitlines()
    assert max(map(len, lines)) <= 80
    assert all(len(line.split()) == 7 for line in lines if line.startswith(("x0", "x1", "x2")))
