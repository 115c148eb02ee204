"""`LogisticRegression`: scikit-learn's estimator on every backend."""

import pickle
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import logsumexp
from sklearn import linear_model
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import lrbackends as lrb
from lrbackends import _cost_model
from lrbackends._backend_choice import Choice, by_rule
from lrbackends._cost_model import Work, work_of
from lrbackends.errors import SeparationWarning, UnsupportedError
from lrbackends.solvers import epoch_batches

LR = lrb.LogisticRegression
BACKENDS = ("numpy", "numba", "jax")
PEER = linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-12)
each_backend = pytest.mark.parametrize("backend", BACKENDS)


def objective(X, y, weight, C, l1_ratio, model):
    """What scikit-learn says is minimised, computed as its user guide writes it."""
    X = X.toarray() if sparse.issparse(X) else X
    z = X @ model.coef_.T + model.intercept_
    if len(model.classes_) == 2:
        z = np.hstack([np.zeros_like(z), z])
    loss = logsumexp(z, axis=1) - z[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    w = model.coef_
    return C * weight @ loss + (1 - l1_ratio) / 2 * np.sum(w * w) + l1_ratio * np.abs(w).sum()


@pytest.fixture(scope="module")
def three_classes():
    """60 rows of 3 features, in 3 classes that overlap."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 3))
    return X, np.argmax(X + rng.gumbel(size=(60, 3)), axis=1)


# -- beside scikit-learn, on 200 random problems


@st.composite
def random_problems(draw, shapes, sparsity):
    n, p = draw(st.sampled_from(shapes))
    K = draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    X = rng.normal(size=(n, p)) * draw(st.sampled_from([0.1, 1.0, 10.0]))
    y = np.concatenate([np.arange(K), np.argmax(X[K:, :1] + rng.gumbel(size=(n - K, K)), axis=1)])
    weight = np.ones(n)
    if draw(st.booleans()):
        weight = rng.uniform(0.2, 3.0, size=n)
    if sparsity and draw(st.booleans()):
        X = sparse.csr_array(np.where(rng.random(X.shape) < 0.6, 0.0, X))
        weight[K:] *= rng.random(n - K) < 0.8  # rows of weight 0
    C = 10.0 ** draw(st.floats(-3, 3))
    return X, y, weight, C, draw(st.sampled_from([0.0, 0.5, 1.0]))


def beside_scikit_learn(backend, X, y, weight, C, l1_ratio):
    ours = LR(C, l1_ratio=l1_ratio, backend=backend).fit(X, y, weight)
    found = objective(X, y, weight, C, l1_ratio, ours)
    assert ours.converged_
    peer = linear_model.LogisticRegression(
        C=C, l1_ratio=l1_ratio, solver="saga" if l1_ratio else "lbfgs", max_iter=2000
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer.fit(X, y, weight)
        assert found <= objective(X, y, weight, C, l1_ratio, peer) * (1 + 1e-8)
        peer.set_params(tol=1e-12, max_iter=20_000)
        peer.set_params(solver="saga" if l1_ratio else "newton-cholesky").fit(X, y, weight)
    best = objective(X, y, weight, C, l1_ratio, peer)
    assert found <= best * (1 + 1e-8)
    # saga takes coefficients that are all zero for the end, whatever the intercept is.
    at_its_optimum = best <= found * (1 + 1e-8)
    assert at_its_optimum or l1_ratio
    if at_its_optimum:
        z = np.sort(peer.decision_function(X), axis=-1)
        clear = (np.abs(z) if z.ndim == 1 else z[:, -1] - z[:, -2]) > 1e-6
        assert (ours.predict(X) == peer.predict(X))[clear].all()


def examples(number):
    return settings(
        phases=(Phase.explicit, Phase.generate),  # shrinking would take minutes
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


SMALL = [(12, 1), (20, 8), (40, 3), (60, 5)]


@examples(110)
@given(problem=random_problems(SMALL, sparsity=True))
def test_never_worse_than_scikit_learn_on_numpy(problem):
    beside_scikit_learn("numpy", *problem)


@examples(60)
@given(problem=random_problems(SMALL, sparsity=True))
def test_never_worse_than_scikit_learn_on_numba(problem):
    beside_scikit_learn("numba", *problem)


@examples(30)
@given(problem=random_problems([(30, 4)], sparsity=False))  # JAX compiles for each shape
def test_never_worse_than_scikit_learn_on_jax(problem):
    beside_scikit_learn("jax", *problem)


@each_backend
@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_the_objective_that_is_reported_is_the_mean(backend, three_classes, row_weights, l1_ratio):
    X, y = three_classes
    model = LR(0.3, l1_ratio=l1_ratio, backend=backend).fit(X, y, row_weights)
    total = 0.3 * row_weights.sum()
    expected = objective(X, y, row_weights, 0.3, l1_ratio, model) / total
    assert model.result_.loss == pytest.approx(expected, rel=1e-13)


# -- what a fitted estimator knows


@each_backend
@pytest.mark.parametrize("K", [2, 3])
def test_attributes(backend, noisy, three_classes, K):
    X, y = noisy if K == 2 else three_classes
    model = LR(backend=backend).fit(X, y)
    rows = 1 if K == 2 else K
    assert model.coef_.shape == (rows, 3)
    assert model.intercept_.shape == (rows,)
    assert model.classes_.tolist() == list(range(K))
    assert model.n_iter_.shape == (1,)
    assert len(model.history_["loss"]) == model.n_iter_[0] > 0
    assert (model.status_, model.converged_, model.backend_) == ("converged", True, backend)
    assert model.result_.suboptimality <= 1e-9 * model.result_.loss
    assert model.predict_log_proba(X) == pytest.approx(np.log(model.predict_proba(X)), rel=1e-12)
    assert model.predict_proba(X).sum(axis=1) == pytest.approx(np.ones(60))
    assert model.score(X, y) == np.mean(model.predict(X) == y) > 0.5


@each_backend
def test_log_probabilities_keep_their_digits(backend, noisy):
    model = LR(backend=backend).fit(*noisy)
    far = 1e3 * model.coef_
    (low, high), (z,) = model.predict_log_proba(far)[0], model.decision_function(far)
    assert low == pytest.approx(-z, rel=1e-12)
    assert high == pytest.approx(-np.exp(-z), rel=1e-12)


@each_backend
def test_sparse_coefficients_predict_the_same(backend, three_classes):
    X, y = three_classes
    model = LR(0.05, l1_ratio=1.0, backend=backend).fit(X, y)
    before = model.predict_proba(X)
    assert np.count_nonzero(model.coef_) < model.coef_.size
    assert sparse.issparse(model.sparsify().coef_)
    np.testing.assert_array_equal(model.predict_proba(X), before)
    assert isinstance(model.densify().coef_, np.ndarray)


def test_coefficients_that_were_changed_are_those_that_predict(noisy):
    model = LR(backend="numpy").fit(*noisy)
    z = model.decision_function(noisy.X)
    model.coef_, model.intercept_ = -model.coef_, -model.intercept_
    np.testing.assert_array_equal(model.decision_function(noisy.X), -z)


def test_parameters_that_were_set_by_hand_predict(noisy):
    model, fitted = LR(), LR(backend="numpy").fit(*noisy)
    for name in ("coef_", "intercept_", "classes_"):
        setattr(model, name, getattr(fitted, name))
    np.testing.assert_array_equal(model.predict_proba(noisy.X), fitted.predict_proba(noisy.X))


def test_a_fit_that_failed_fits_nothing(noisy):
    model = LR(backend="numpy")
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(noisy.X * np.nan, noisy.y, classes=[0, 1])
    with pytest.raises(NotFittedError):
        model.predict(noisy.X)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_names_of_columns(kind, noisy):
    frames = pytest.importorskip(kind)
    frame = frames.DataFrame({f"f{j}": noisy.X[:, j] for j in range(3)})
    model = LR(backend="numpy").fit(frame, noisy.y)
    assert model.feature_names_in_.tolist() == ["f0", "f1", "f2"]
    assert model.result_.feature_names == ("f0", "f1", "f2")
    np.testing.assert_array_equal(model.coef_, LR(backend="numpy").fit(*noisy).coef_)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["f1", "f0", "f2"]])


def test_float32_frames_are_trained_in_float32_without_complaint(noisy):
    frame = pd.DataFrame(noisy.X.astype(np.float32))
    model = LR(backend="numpy").fit(frame, noisy.y)
    assert model.coef_.dtype == np.float32
    assert model.converged_


def test_repr_clone_and_parameters():
    model = LR(0.1, backend="numba", patience=3)
    assert repr(model) == "LogisticRegression(C=0.1, backend='numba', patience=3)"
    assert clone(model).get_params() == model.get_params()
    assert model.set_params(C=2.0).C == 2.0


def test_tags():
    for backend in BACKENDS:
        tags = LR(backend=backend).__sklearn_tags__()
        assert tags.input_tags.sparse == lrb.get_backend(backend).capabilities().sparse
        assert tags.classifier_tags.multi_class
        assert not tags.array_api_support
    assert not LR(arithmetic="reproducible").__sklearn_tags__().input_tags.sparse
    assert not LR(backend="none such").__sklearn_tags__().input_tags.sparse


def test_sample_weights_are_routed(noisy, row_weights):
    from sklearn import config_context

    with config_context(enable_metadata_routing=True):
        inner = LR(backend="numpy").set_fit_request(sample_weight=True)
        chain = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), inner)
        routed = chain.fit(*noisy, sample_weight=row_weights)[-1].coef_
    scaled = StandardScaler().fit_transform(noisy.X)
    np.testing.assert_array_equal(
        routed, LR(backend="numpy").fit(scaled, noisy.y, row_weights).coef_
    )


LOAD_WITHOUT_ENGINES = """
import pickle, sys
import numpy as np
sys.modules["numba"] = sys.modules["jax"] = None
model, X, expected = pickle.load(sys.stdin.buffer)
np.testing.assert_array_equal(model.predict_proba(X), expected)
from lrbackends.errors import BackendUnavailableError
try:
    model.fit(X, model.predict(X))
except BackendUnavailableError as error:
    assert "is not installed" in str(error)
else:
    raise AssertionError
"""


@pytest.mark.parametrize("backend", ["numba", "jax"])
def test_a_pickle_predicts_where_its_engine_is_missing(backend, noisy):
    model = LR(backend=backend).fit(*noisy)
    sent = pickle.dumps((model, noisy.X, model.predict_proba(noisy.X)))
    subprocess.run([sys.executable, "-c", LOAD_WITHOUT_ENGINES], input=sent, check=True)


# -- in company


@each_backend
@pytest.mark.parametrize("joblib_backend", ["loky", "threading"])
def test_grid_search_in_processes_and_in_threads(backend, joblib_backend, noisy):
    joblib = pytest.importorskip("joblib")
    grid = {"C": [0.01, 1.0]}
    how = {"param_grid": grid, "cv": 2, "scoring": "neg_log_loss"}
    with joblib.parallel_config(backend=joblib_backend):
        search = GridSearchCV(LR(backend=backend, tol=1e-13), n_jobs=2, **how).fit(*noisy)
    peer = GridSearchCV(PEER, **how).fit(*noisy)
    found, expected = (one.cv_results_["mean_test_score"] for one in (search, peer))
    assert found == pytest.approx(expected, rel=1e-7)


@each_backend
def test_calibration_and_cross_validated_predictions(backend, noisy):
    models = LR(backend=backend, tol=1e-13), PEER
    held_out = [cross_val_predict(m, *noisy, cv=2, method="predict_proba") for m in models]
    assert held_out[0] == pytest.approx(held_out[1], rel=1e-6)
    ours, theirs = (
        CalibratedClassifierCV(model, cv=2).fit(*noisy).predict_proba(noisy.X) for model in models
    )
    assert ours == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_pipelines_that_hand_on_frames(kind, noisy):
    frames = pytest.importorskip(kind)
    frame = frames.DataFrame({f"f{j}": noisy.X[:, j] for j in range(3)})
    chain = make_pipeline(StandardScaler(), LR(backend="numpy")).set_output(transform=kind)
    chain.fit(frame, noisy.y)
    assert chain[-1].feature_names_in_.tolist() == ["f0", "f1", "f2"]
    plain = make_pipeline(StandardScaler(), LR(backend="numpy")).fit(*noisy)
    assert chain.predict_proba(frame) == pytest.approx(plain.predict_proba(noisy.X), rel=1e-12)


# -- weights

RULES = ["gd", "momentum", "nesterov", "adam"]
SOLVERS = ["auto", "lbfgs", "newton", "newton-cg", *RULES]


def solved_by(solver, backend, **options):
    """An estimator that takes the same steps whatever rounding does: the optimum, or 40 epochs."""
    if solver in RULES:
        options |= {"max_iter": 40, "learning_rate": 0.1}
    return LR(solver=solver, backend=backend, tol=0.0, **options)


@each_backend
@pytest.mark.parametrize("solver", SOLVERS)
def test_weights_count_rows(backend, solver, three_classes, row_weights):
    X, y = three_classes
    model = solved_by(solver, backend)
    weighted = clone(model).fit(X, y, row_weights)
    some = row_weights > 0
    left_out = clone(model).fit(X[some], y[some], row_weights[some])
    np.testing.assert_allclose(weighted.coef_, left_out.coef_, rtol=1e-9)
    if solver in RULES:
        np.testing.assert_array_equal(weighted.coef_, left_out.coef_)
    times = row_weights.astype(int)
    repeated = clone(model).fit(X.repeat(times, axis=0), y.repeat(times))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(weighted.intercept_, repeated.intercept_, rtol=1e-6, atol=1e-8)


@each_backend
def test_weights_count_rows_with_an_l1_penalty(backend, three_classes, row_weights):
    X, y = three_classes
    times = row_weights.astype(int)
    model = LR(0.2, l1_ratio=0.5, backend=backend, tol=1e-13)
    weighted = clone(model).fit(X, y, row_weights)
    repeated = clone(model).fit(X.repeat(times, axis=0), y.repeat(times))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-6, atol=1e-6)


@each_backend
def test_weights_in_mini_batches(backend, noisy, row_weights):
    X, y = noisy
    model = LR(
        backend=backend, solver="gd", batch_size=8, max_iter=3, tol=0, learning_rate=0.1,
        random_state=0,
    )  # fmt: skip
    some = row_weights > 0
    weighted = clone(model).fit(X, y, row_weights)
    left_out = clone(model).fit(X[some], y[some], row_weights[some])
    np.testing.assert_array_equal(weighted.coef_, left_out.coef_)
    # Rows of one weight are rows of weight 1 under another penalty.
    twice = clone(model).fit(X, y, np.full(60, 2.0))
    np.testing.assert_array_equal(twice.coef_, clone(model).set_params(C=2.0).fit(X, y).coef_)


@each_backend
def test_class_weights_are_sample_weights(backend, three_classes, row_weights):
    X, y = three_classes
    names = np.array(["0", "b", "c"])[y]  # "0" must not be taken for 0
    factors = {"0": 1.0, "b": 0.5, "c": 3.0}
    model = LR(backend=backend, class_weight=factors).fit(X, names, row_weights)
    by_hand = row_weights * np.array([1.0, 0.5, 3.0])[y]
    np.testing.assert_array_equal(model.coef_, LR(backend=backend).fit(X, y, by_hand).coef_)
    balanced = LR(backend=backend, class_weight="balanced").fit(X, y, row_weights)
    sums = np.bincount(y, row_weights)
    by_hand = row_weights * (sums.sum() / (3 * sums))[y]
    np.testing.assert_array_equal(balanced.coef_, LR(backend=backend).fit(X, y, by_hand).coef_)
    peer = clone(PEER).set_params(class_weight="balanced").fit(X, y, row_weights)
    assert balanced.coef_ == pytest.approx(peer.coef_, rel=1e-4)


def test_class_weights_of_classes_that_are_not_there(noisy):
    X, y = noisy
    more = LR(backend="numpy", class_weight={0: 1.0, 1: 2.0, 7: 3.0}).fit(X, y)
    np.testing.assert_array_equal(
        more.coef_, LR(backend="numpy", class_weight={1: 2.0}).fit(X, y).coef_
    )
    with pytest.raises(ValueError, match=r"weights of \[7\], which are no classes of y, but none"):
        LR(backend="numpy", class_weight={0: 1.0, 7: 3.0}).fit(X, y)
    with pytest.raises(ValueError, match=r"class_weight\[1\] must be a finite number >= 0, got -1"):
        LR(backend="numpy", class_weight={1: -1}).fit(X, y)


# -- starting where another training ended


@each_backend
def test_a_warm_start_from_the_optimum_takes_no_step(backend, three_classes):
    model = LR(backend=backend, warm_start=True).fit(*three_classes)
    coef, steps = model.coef_, model.n_iter_[0]
    model.fit(*three_classes)
    assert steps > model.n_iter_[0] == 0
    np.testing.assert_array_equal(model.coef_, coef)
    model.set_params(warm_start=False).fit(*three_classes)
    assert model.n_iter_[0] == steps


def test_a_warm_start_needs_the_same_features_and_classes(noisy, three_classes):
    model = LR(backend="numpy", warm_start=True).fit(*noisy)
    with pytest.raises(ValueError, match=r"from 3 features, but X has 2; set warm_start=False"):
        clone(model).fit(*noisy).fit(noisy.X[:, :2], noisy.y)
    with pytest.raises(ValueError, match=r"the classes \[0, 1\], but y has \[0, 1, 2\]"):
        model.fit(*three_classes)


CHUNKS = [slice(0, 20), slice(20, 40), slice(40, 60)]


def in_pieces(model, X, y, weight=None):
    for rows in CHUNKS:
        model.partial_fit(
            X[rows], y[rows], classes=np.unique(y),
            sample_weight=None if weight is None else weight[rows],
        )  # fmt: skip
    return model


@pytest.mark.parametrize("solver", ["auto", "nesterov", "adam"])
def test_learning_piece_by_piece_is_the_same_on_every_backend(solver, three_classes, row_weights):
    def trained(backend, arithmetic):
        model = LR(
            0.1, backend=backend, solver=solver, batch_size=8, random_state=5,
            schedule="invscaling", learning_rate=0.1, arithmetic=arithmetic,
        )  # fmt: skip
        return in_pieces(model, *three_classes, row_weights)

    fast = [trained(backend, "fast").coef_ for backend in BACKENDS]
    same = [trained(backend, "reproducible").coef_ for backend in BACKENDS]
    for k in (1, 2):
        np.testing.assert_allclose(fast[k], fast[0], rtol=1e-9)
        np.testing.assert_array_equal(same[k], same[0])
    np.testing.assert_allclose(same[0], fast[0], rtol=1e-9)


@each_backend
def test_piece_by_piece_is_stochastic_gradient_descent(backend, noisy):
    """One row at a time, in the order that was drawn, as scikit-learn's `SGDClassifier` does."""
    X, y = noisy
    model = LR(backend=backend, batch_size=1, learning_rate=0.05, random_state=3)
    peer = linear_model.SGDClassifier(
        loss="log_loss", learning_rate="constant", eta0=0.05, shuffle=False
    )
    seen = 0
    for k, rows in enumerate(CHUNKS):
        model.partial_fit(X[rows], y[rows], classes=[0, 1])
        seed = int(np.random.SeedSequence([3, k]).generate_state(1)[0])
        order = epoch_batches(20, 1, seed, 0).indices[:, 0]
        seen += 20
        peer.set_params(alpha=1 / seen)
        peer.partial_fit(X[rows][order], y[rows][order], classes=[0, 1])
        np.testing.assert_allclose(model.coef_, peer.coef_, rtol=1e-10)
        np.testing.assert_allclose(model.intercept_, peer.intercept_, rtol=1e-10)


def test_what_goes_on_from_call_to_call(noisy):
    X, y = noisy
    model = LR(backend="numpy", solver="nesterov", batch_size=4, random_state=0, schedule="optimal")
    in_pieces(model, X, y)
    assert model.result_.state.step == 15
    assert model.result_.random_state == np.random.SeedSequence([0, 2]).generate_state(1)[0]
    loaded = pickle.loads(pickle.dumps(model))
    for one in (model, loaded):
        one.partial_fit(X, y)
    np.testing.assert_array_equal(model.coef_, loaded.coef_)
    assert model.n_iter_.tolist() == [1]
    # A call of fit begins anew, one of partial_fit after it goes on from its parameters.
    model.set_params(solver="auto", schedule="constant", batch_size=None).fit(X, y)
    np.testing.assert_array_equal(model.coef_, LR(backend="numpy").fit(X, y).coef_)
    coef = model.coef_
    model.set_params(learning_rate=1e-12).partial_fit(X, y)
    assert model.coef_ == pytest.approx(coef, rel=1e-9)
    assert (model.coef_ != coef).any()


def test_learning_piece_by_piece_learns(breast_cancer):
    X, y = breast_cancer
    model = LR(backend="numpy", random_state=0)
    for start in range(0, 500, 50):
        model.partial_fit(X[start : start + 50], y[start : start + 50], classes=[0, 1])
    assert model.score(X[500:], y[500:]) > 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "newton"}, "solver='newton' needs all rows at once; for partial_fit choose"),
        ({"patience": 2}, "patience=2 needs all rows at once; watch the loss"),
        ({"validation_fraction": 0.2}, "validation_fraction=0.2 needs all rows"),
        ({"standardize": True}, "standardize=True needs all rows at once; scale the columns"),
        ({"class_weight": "balanced"}, "class_weight='balanced' needs all rows at once; give"),
    ],
)
def test_what_does_not_go_piece_by_piece(options, message, noisy):
    with pytest.raises(ValueError, match=message):
        LR(backend="numpy", **options).partial_fit(*noisy, classes=[0, 1])


def test_the_first_piece_names_the_classes(noisy):
    model = LR(backend="numpy")
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(*noisy)
    model.partial_fit(*noisy, classes=[0, 1])
    with pytest.raises(ValueError, match="is not the same as on last call"):
        model.partial_fit(*noisy, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="X has 2 features, but LogisticRegression is expecting 3"):
        model.partial_fit(noisy.X[:, :2], noisy.y)


# -- options that are the trainer's


@each_backend
def test_standardize_is_a_scaler_in_front(backend, three_classes):
    X, y = three_classes
    X = X * [1.0, 50.0, 0.1] + [5.0, 0.0, -3.0]
    inside = LR(backend=backend, standardize=True).fit(X, y)
    chain = make_pipeline(StandardScaler(), LR(backend=backend)).fit(X, y)
    assert inside.predict_proba(X) == pytest.approx(chain.predict_proba(X), rel=1e-5)


def test_reproducible_training_and_prediction(three_classes):
    X, y = three_classes
    models = [
        LR(backend=backend, solver="nesterov", max_iter=20, tol=0, arithmetic="reproducible")
        .fit(X, y)
        for backend in BACKENDS
    ]  # fmt: skip
    for model in models[1:]:
        np.testing.assert_array_equal(model.coef_, models[0].coef_)
        np.testing.assert_array_equal(model.predict_proba(X), models[0].predict_proba(X))


def test_early_stopping_on_validation_rows(breast_cancer):
    model = LR(
        backend="numpy", solver="adam", learning_rate=0.1, batch_size=32, patience=3,
        validation_fraction=0.25, random_state=0,
    ).fit(*breast_cancer)  # fmt: skip
    assert (model.status_, model.converged_) == ("early_stopped", False)
    assert len(model.history_["validation_loss"]) == model.n_iter_[0] < 1000


def test_a_random_state_object_is_drawn_from(noisy):
    def trained():
        model = LR(
            backend="numpy", solver="gd", batch_size=8, max_iter=2, tol=0,
            random_state=np.random.RandomState(0),
        )  # fmt: skip
        return model.fit(*noisy).coef_

    np.testing.assert_array_equal(trained(), trained())


def test_verbose_prints_the_loss(noisy, capsys):
    LR(backend="numpy", verbose=1).fit(*noisy)
    assert capsys.readouterr().out.startswith("epoch 1: loss 0.")


@pytest.mark.parametrize(
    ("n_samples", "solver", "max_iter", "chosen"),
    [
        (100, "auto", 1000, "numpy"),
        (200_000, "auto", 1000, "numpy"),
        (300_000, "auto", 1000, "numba"),
        (4_000, "gd", 1000, "numpy"),
        (6_000, "gd", 1000, "numba"),
        (6_000, "gd", 1, "numpy"),
    ],
)
def test_the_backend_that_auto_takes_where_nothing_is_calibrated(
    n_samples, solver, max_iter, chosen
):
    work = work_of((n_samples, 10), 1, 10 * n_samples, "float64", False, solver, max_iter)
    choice = by_rule([work], "why")
    assert choice.backend == chosen
    assert choice.reason.startswith(f"{chosen}, by the rule that ")
    assert choice.reason.endswith(" 5e7 entries of X are read (why)")


def test_auto_does_without_numba(monkeypatch, noisy):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    work = work_of((10**6, 1000), 1, 10**9, "float64", False, "auto", 1000)
    assert by_rule([work], "why").backend == "numpy"
    assert (
        "5e7 entries of X are read, and numba is not there (why)" in by_rule([work], "why").reason
    )
    with pytest.raises(lrb.errors.BackendUnavailableError, match="numba is not installed"):
        LR(backend="numba").fit(*noisy)


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What the estimators ask the cost model about: (work, option that is not covered)."""
    seen = []

    def choose(work, uncovered=""):
        seen.append((work, uncovered))
        return Choice("numpy", f"reason {len(seen)}")

    monkeypatch.setattr("lrbackends.estimator.choose_backend", choose)
    monkeypatch.setattr("lrbackends.estimator_cv.choose_backend", choose)
    return seen


def test_the_reason_for_a_backend_is_kept(tmp_path, monkeypatch, noisy):
    monkeypatch.setenv("LRBACKENDS_CACHE_DIR", str(tmp_path))
    model = LR().fit(*noisy)
    assert (model.backend_, model.backend_reason_) == (
        "numpy",
        "numpy, by the rule that fewer than 5e7 entries of X are read "
        "(this machine is not calibrated; `lrbackends calibrate` measures it)",
    )
    assert LR(backend="numpy").fit(*noisy).backend_reason_ == "numpy, as backend= says"
    assert LR(backend=lrb.get_backend("numpy")).fit(*noisy).backend_reason_ == (
        "numpy, as backend= says"
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Work(60, 3, 1, 180, family="newton", steps=1000)),
        ({"solver": "gd", "max_iter": 7}, Work(60, 3, 1, 180, steps=7)),
        (
            {"solver": "adam", "max_iter": 7, "batch_size": 9, "random_state": 0},
            Work(60, 3, 1, 180, family="batches", steps=7, batch_size=9),
        ),
        (
            {"l1_ratio": 0.5, "dtype": "float32"},
            Work(60, 3, 1, 180, "float32", family="proximal-newton", steps=1000),
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_cost_model_is_asked_about_the_fit_that_is_done(asked, options, expected, noisy):
    model = LR(**options).fit(*noisy)
    assert asked == [(expected, "")]
    assert model.backend_reason_ == "reason 1"
    assert model.result_.solver in (expected.family, options.get("solver"))


def test_the_cost_model_is_asked_about_sparse_data_and_many_classes(asked, noisy):
    X = sparse.csr_array(np.where(noisy.X > 0, noisy.X, 0.0))
    y = np.arange(60) % 4
    LR().fit(X, y)
    assert asked[0][0] == Work(60, 3, 4, X.nnz, sparse=True, family="newton", steps=1000)


@pytest.mark.parametrize(
    ("options", "uncovered"),
    [
        ({"solver": "gd", "arithmetic": "reproducible"}, "arithmetic='reproducible'"),
        ({"n_threads": 2}, "n_threads=2"),
        ({"solver": "gd", "standardize": True}, "standardize=True with solver='gd'"),
        ({"standardize": True}, ""),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_is_not_calibrated_for_is_said(asked, options, uncovered, noisy):
    LR(**options, max_iter=20, tol=1e-3).fit(*noisy)
    assert asked[0][1] == uncovered


def test_a_stream_stays_on_the_backend_that_it_began_on(asked, noisy):
    model = LR(random_state=0)
    for _ in range(3):
        model.partial_fit(*noisy, classes=[0, 1])
    assert len(asked) == 1
    assert (model.backend_, model.backend_reason_) == ("numpy", "reason 1")
    model.fit(*noisy)
    assert len(asked) == 2


def test_cross_validation_asks_once_for_all_fits(asked, noisy):
    model = lrb.LogisticRegressionCV(Cs=4, cv=3, l1_ratios=(0.0, 0.5)).fit(*noisy)
    ((works, uncovered),) = asked
    assert works == [
        Work(60, 3, 1, 180, family="many", steps=12),
        Work(60, 3, 1, 180, family="proximal-newton", steps=1000, fits=12),
    ]
    assert uncovered == ""
    assert (model.backend_, model.backend_reason_) == ("numpy", "reason 1")
    without = lrb.LogisticRegressionCV(Cs=4, cv=3, refit=False, n_threads=1).fit(*noisy)
    assert without.backend_ == "numpy"
    assert asked[1][1] == "n_threads=1"


def test_the_cost_model_hears_of_what_a_process_has_compiled(monkeypatch, noisy):
    monkeypatch.setattr(_cost_model, "_done", set())
    LR(backend="numpy").fit(*noisy)
    work = work_of((60, 3), 1, 180, "float64", False, "auto", 5)
    assert ("numpy", work.kind, work.shape) in _cost_model._done
    LR(backend="numpy", solver="gd", max_iter=3, tol=0.0, batch_size=9).fit(*noisy)
    assert ("numpy", "batches dense binary float64", (60, 3, 1, 9)) in _cost_model._done


# -- callbacks


class Listener:
    """Writes down what scikit-learn's callbacks are told; asks to stop after some epochs."""

    def __init__(self, stop_after=None):
        self.stop_after, self.events = stop_after, []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.events.append(("begin", context.task_name, context.task_id))
        assert len(X) == len(y) == 60

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        score = None if fitted_estimator is None else fitted_estimator.predict_proba(X).round(6)
        self.events.append(("end", context.task_name, context.task_id, score is not None))
        return self.stop_after is not None and context.task_id + 1 == self.stop_after


CASES = [
    {},
    {"solver": "lbfgs", "max_iter": 4, "tol": 0.0},
    {"solver": "gd", "max_iter": 6, "tol": 0.0},
    {"solver": "adam", "max_iter": 3, "tol": 0.0, "batch_size": 16, "random_state": 0},
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("options", CASES, ids=["auto", "lbfgs", "gd", "batches"])
def test_scikit_learns_callbacks_are_told_the_same_by_every_backend(options, three_classes):
    pytest.importorskip("sklearn.callback")
    told = []
    for backend in BACKENDS:
        listener = Listener()
        model = LR(backend=backend, **options).set_callbacks(listener).fit(*three_classes)
        told.append(listener.events)
    epochs = model.n_iter_[0]
    expected = ["setup", ("begin", "fit", 0)]
    for k in range(epochs):
        expected += [("begin", "epoch", k), ("end", "epoch", k, True)]
    expected += [("begin", "epoch", epochs), ("end", "epoch", epochs, False)]
    expected += [("end", "fit", 0, True), "teardown"]
    assert told == [expected] * 3


@each_backend
def test_a_callback_of_scikit_learn_stops_training(backend, three_classes):
    pytest.importorskip("sklearn.callback")
    model = LR(backend=backend).set_callbacks(Listener(stop_after=2)).fit(*three_classes)
    assert (model.status_, model.n_iter_.tolist()) == ("callback", [2])


def test_the_scores_of_a_monitor_are_those_of_the_model(noisy):
    callback = pytest.importorskip("sklearn.callback")
    monitor = callback.ScoringMonitor(scoring="neg_log_loss")
    model = LR(backend="numpy").set_callbacks(monitor).fit(*noisy)
    scores = [row["neg_log_loss"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    penalty = 0.5 / 60 * np.sum(model.coef_**2)
    assert -scores[-1] == pytest.approx(model.history_["loss"][-1] - penalty, rel=1e-9)
    assert len(scores) == model.n_iter_[0]


def test_an_older_scikit_learn_says_so_only_where_callbacks_are_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    source = Path(lrb.__file__).with_name("_sklearn_callbacks.py")
    mixin = runpy.run_path(str(source))["CallbackSupportMixin"]()
    assert mixin.set_callbacks() is mixin
    with pytest.raises(Exception, match=r"set_callbacks needs scikit-learn 1\.9 or newer") as info:
        mixin.set_callbacks(Listener())
    assert type(info.value) is UnsupportedError


@each_backend
def test_our_own_callbacks_go_on_working(backend, noisy):
    seen = []

    def look(progress):
        seen.append(progress.epoch)
        return progress.epoch >= 2

    model = LR(backend=backend, callbacks=[look]).fit(*noisy)
    assert model.status_ == "callback"
    assert seen[-1] == model.n_iter_[0] == 2
    with pytest.raises(TypeError, match="callbacks must be a list of callables"):
        LR(backend=backend, callbacks=[Listener()]).fit(*noisy)


# -- inference


def test_inference_is_about_the_objective_that_was_minimised(noisy, row_weights):
    from lrbackends.inference import infer

    model = LR(2.0, backend="numpy", class_weight={1: 3.0}).fit(*noisy, row_weights)
    found = model.inference(*noisy, row_weights)
    weight = row_weights * np.where(noisy.y == 1, 3.0, 1.0)
    problem = lrb.Problem(*noisy, weight)
    expected = infer(problem, lrb.Objective(0.5 / weight.sum()), (model.coef_, model.intercept_))
    np.testing.assert_array_equal(found.covariance, expected.covariance)
    assert model.summary(*noisy, row_weights) == expected.summary()
    with pytest.raises(ValueError, match="standard errors from the optimum"):
        model.inference(*noisy)
    with pytest.raises(ValueError, match="with standardize=True scale the columns in a pipeline"):
        LR(backend="numpy", standardize=True).fit(*noisy).inference(*noisy)


# -- bad and odd input


@each_backend
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_iter": -1}, ValueError, "'max_iter' parameter of LogisticRegression must be an int"),
        ({"tol": np.nan}, ValueError, "'tol' parameter .* must be a float in the range"),
        ({"C": 0}, ValueError, "'C' parameter .* must be a float in the range"),
        ({"C": -1}, ValueError, "'C' parameter .* must be a float in the range"),
        ({"C": np.nan}, ValueError, "'C' parameter .* must be a float in the range"),
        ({"C": "1"}, TypeError, "'C' parameter .* must be a float in the range"),
        ({"l1_ratio": 1.5}, ValueError, "'l1_ratio' parameter"),
        ({"solver": "saga"}, ValueError, "'solver' parameter .* must be a str among .*'lbfgs'"),
        ({"class_weight": "even"}, ValueError, "'class_weight' parameter .*'balanced'"),
        ({"solver": "newton", "l1_ratio": 1.0}, ValueError, "choose proximal-newton, or auto"),
        ({"batch_size": 8}, ValueError, "batch_size=8 does not go with solver='auto'"),
        ({"learning_rate": np.inf, "solver": "gd"}, ValueError, "learning_rate"),
        ({"penalty": "l2"}, TypeError, "unexpected keyword argument 'penalty'"),
    ],
)
def test_wrong_options(backend, options, error, message, noisy):
    with pytest.raises(error, match=message):
        LR(**{"backend": backend, **options}).fit(*noisy)


def test_wrong_backends(noisy):
    with pytest.raises(ValueError, match="did you mean 'numpy'"):
        LR(backend="numpi").fit(*noisy)
    with pytest.raises(TypeError, match="backend must be a name or a Backend object"):
        LR(backend=3).fit(*noisy)


@each_backend
def test_too_few_steps_are_told(backend, noisy):
    for max_iter in (0, 1):
        model = LR(backend=backend, max_iter=max_iter)
        with pytest.warns(ConvergenceWarning, match=f"in {max_iter} steps"):
            model.fit(*noisy)
        assert (model.converged_, model.n_iter_.tolist()) == (False, [max_iter])
        assert bool(model.coef_.any()) == (max_iter > 0)


@each_backend
@pytest.mark.parametrize("solver", ["auto", "gd"])
def test_without_a_tolerance_nothing_is_missed(backend, solver, noisy):
    model = LR(backend=backend, tol=0, max_iter=50, solver=solver).fit(*noisy)  # warns of nothing
    assert model.status_ == ("converged" if solver == "auto" else "completed")


@each_backend
def test_a_huge_c_is_nearly_no_penalty(backend, noisy):
    free = LR(np.inf, backend=backend).fit(*noisy)
    assert LR(1e308, backend=backend).fit(*noisy).coef_ == pytest.approx(free.coef_, rel=1e-6)
    peer = clone(PEER).set_params(C=np.inf).fit(*noisy)
    assert free.coef_ == pytest.approx(peer.coef_, rel=1e-5)


@each_backend
def test_separated_classes_are_told(backend):
    X, y = [[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1]
    model = LR(np.inf, backend=backend)
    with pytest.warns(SeparationWarning, match="separated completely"):
        model.fit(X, y)
    assert (model.status_, model.converged_) == ("separated", False)
    assert LR(backend=backend).fit(X, y).converged_


METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


@each_backend
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("K", [2, 3])
def test_odd_rows_to_predict(backend, method, K, noisy, three_classes):
    model = LR(backend=backend, max_iter=3, tol=1e-3).fit(*(noisy if K == 2 else three_classes))
    call = getattr(model, method)
    with pytest.raises(ValueError, match="X has 2 features, but LogisticRegression is expecting 3"):
        call(noisy.X[:, :2])
    with pytest.raises(ValueError, match=r"reshape one sample with|one sample with X\.reshape"):
        call(noisy.X[0])
    holed = noisy.X.copy()
    holed[4, 1] = np.nan
    with pytest.raises(ValueError, match=r"first \(nan\) in row 4, column 1"):
        call(holed)
    wide = {"predict": (0,), "decision_function": (0,) if K == 2 else (0, K)}
    assert call(np.empty((0, 3))).shape == wide.get(method, (0, K))
    with pytest.raises(NotFittedError):
        getattr(clone(model), method)(noisy.X)


@each_backend
@pytest.mark.parametrize("K", [2, 3])
def test_probabilities_of_huge_scores(backend, K, noisy, three_classes):
    model = LR(backend=backend).fit(*(noisy if K == 2 else three_classes))
    proba = model.predict_proba(noisy.X[:4] * 1e300)
    assert ((proba >= 0) & (proba <= 1)).all()
    assert proba.sum(axis=1).tolist() == [1.0] * 4


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        (None, [0, 1], TypeError, "X is None"),
        ([1.0, 2.0], [0, 1], ValueError, r"got 1; reshape .* Reshape your data"),
        ([[1.0], [2.0]], [0, 0], ValueError, "only one class"),
        ([[1.0], [2.0]], [0, 1, 1], ValueError, "2 rows but y has 3"),
        ([["a"], ["b"]], [0, 1], TypeError, "not a number|strings are not numbers"),
        ([[1.0], [np.inf]], [0, 1], ValueError, "NaN or infinite"),
    ],
)
def test_data_that_cannot_be_trained_on(X, y, error, message):
    with pytest.raises(error, match=message):
        LR(backend="numpy").fit(X, y)


def test_the_comparison_with_scikit_learn_finds_a_worse_objective(monkeypatch, noisy):
    fit = LR.fit

    def sloppy(self, X, y, sample_weight=None):
        fit(self, X, y, sample_weight)
        self.coef_ = self.coef_ * (1 + 1e-3)
        return self

    monkeypatch.setattr(LR, "fit", sloppy)
    with pytest.raises(AssertionError):
        beside_scikit_learn("numpy", noisy.X, noisy.y, np.ones(60), 1.0, 0.0)
