"""LogisticRegressionCV: scikit-learn's contract, and scikit-learn's choice."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegressionCV as Theirs
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import lrbackends as lrb

FORMS = {"l1_ratios": (0,), "use_legacy_attributes": False}


@parametrize_with_checks([lrb.LogisticRegressionCV(Cs=3, cv=3, backend="numpy")])
@pytest.mark.filterwarnings("ignore::lrbackends.errors.ScaleWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_contract(estimator, check):
    check(estimator)


def agree(X, y, backend_name, scoring):
    options = {"Cs": np.logspace(-3, 3, 9), "cv": 5, "scoring": scoring}
    ours = lrb.LogisticRegressionCV(backend=backend_name, tol=1e-12, **options).fit(X, y)
    theirs = Theirs(solver="newton-cholesky", tol=1e-9, **options, **FORMS).fit(X, y)
    assert ours.C_ == theirs.C_
    assert ours.l1_ratio_ == theirs.l1_ratio_
    assert ours.scores_ == pytest.approx(theirs.scores_, abs=1e-6)
    assert ours.coefs_paths_ == pytest.approx(theirs.coefs_paths_, rel=1e-3, abs=1e-4)
    assert ours.coef_ == pytest.approx(theirs.coef_, rel=1e-3, abs=1e-4)
    for name in ("n_iter_", "Cs_", "l1_ratios_", "classes_"):
        assert np.shape(getattr(ours, name)) == np.shape(getattr(theirs, name))
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), abs=1e-6)
    assert ours.backend_ == backend_name


@pytest.mark.parametrize("data", ["breast_cancer", "digits01"])
def test_scikit_learns_choice(request, backend_name, data):
    agree(*request.getfixturevalue(data), backend_name, "accuracy")


@pytest.mark.parametrize("scoring", ["neg_log_loss", "roc_auc"])
def test_scikit_learns_choice_by_other_scores(breast_cancer, scoring):
    agree(*breast_cancer, "numpy", scoring)


def test_scikit_learns_choice_of_the_elastic_net(noisy):
    options = {"Cs": [0.03, 0.3, 3.0], "l1_ratios": (0.0, 0.5, 1.0), "cv": 4, "scoring": "accuracy"}
    ours = lrb.LogisticRegressionCV(backend="numpy", tol=1e-10, **options).fit(*noisy)
    theirs = Theirs(
        solver="saga", tol=1e-10, max_iter=100_000, use_legacy_attributes=False, **options
    ).fit(*noisy)
    assert (ours.C_, ours.l1_ratio_) == (theirs.C_, theirs.l1_ratio_)
    assert ours.scores_.shape == (4, 3, 3)
    assert np.array_equal(ours.scores_, theirs.scores_)
    # Saga stops as soon as weights do, at 0 with any intercept: only weights can be compared.
    weights = ours.coefs_paths_[..., :-1]
    assert weights == pytest.approx(theirs.coefs_paths_[..., :-1], abs=1e-4)
    assert (weights[:, 2, 0] == 0).all()


def test_three_classes(backend_name):
    X, y = load_iris(return_X_y=True)
    options = {"Cs": [0.1, 1.0], "cv": 3, "scoring": "neg_log_loss"}
    ours = lrb.LogisticRegressionCV(backend=backend_name, tol=1e-12, **options).fit(X, y)
    theirs = Theirs(solver="newton-cholesky", tol=1e-9, **options, **FORMS).fit(X, y)
    assert ours.C_ == theirs.C_
    assert ours.coefs_paths_.shape == theirs.coefs_paths_.shape == (3, 1, 2, 3, 5)
    assert ours.scores_ == pytest.approx(theirs.scores_, abs=1e-6)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("refit", [True, False])
def test_legacy_attributes(noisy, refit):
    options = {"Cs": 4, "cv": 3, "refit": refit, "use_legacy_attributes": True, "l1_ratios": (0,)}
    ours = lrb.LogisticRegressionCV(backend="numpy", **options).fit(*noisy)
    theirs = Theirs(solver="newton-cholesky", tol=1e-9, **options).fit(*noisy)
    assert pytest.approx(theirs.C_) == ours.C_
    assert ours.coef_ == pytest.approx(theirs.coef_, abs=1e-4)
    assert ours.intercept_ == pytest.approx(theirs.intercept_, abs=1e-4)
    for name in ("scores_", "coefs_paths_"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert mine.keys() == other.keys()
        assert all(mine[key].shape == other[key].shape for key in mine)
    assert ours.n_iter_.shape == theirs.n_iter_.shape


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 1.0, 1: 5.0}])
def test_weights(noisy, row_weights, class_weight):
    weight = row_weights + 1
    options = {"Cs": [0.1, 1.0, 10.0], "cv": 3, "class_weight": class_weight}
    ours = lrb.LogisticRegressionCV(backend="numpy", tol=1e-12, **options)
    ours.fit(*noisy, sample_weight=weight)
    theirs = Theirs(solver="newton-cholesky", tol=1e-9, scoring="accuracy", **options, **FORMS)
    theirs.fit(*noisy, sample_weight=weight)
    assert ours.scores_ == pytest.approx(theirs.scores_)
    assert ours.coefs_paths_ == pytest.approx(theirs.coefs_paths_, abs=1e-5)


def test_rows_of_weight_0_do_not_train_but_count_in_splits(noisy, row_weights):
    cv = list(KFold(3, shuffle=True, random_state=0).split(noisy.X))
    model = lrb.LogisticRegressionCV(Cs=[0.1, 1.0], cv=cv, backend="numpy", tol=1e-12)
    coefs = model.fit(*noisy, sample_weight=row_weights).coefs_paths_
    train = cv[1][0]
    alone = lrb.LogisticRegression(1.0, backend="numpy", tol=1e-12)
    alone.fit(noisy.X[train], noisy.y[train], row_weights[train])
    assert coefs[1, 0, 1, 0, :-1] == pytest.approx(alone.coef_[0], rel=1e-5)


def test_sparse_data_walk_along_paths(noisy):
    dense = lrb.LogisticRegressionCV(Cs=3, backend="numpy", tol=1e-12).fit(*noisy)
    csr = lrb.LogisticRegressionCV(Cs=3, backend="numpy", tol=1e-12)
    csr.fit(sparse.csr_array(noisy.X), noisy.y)
    assert csr.coefs_paths_ == pytest.approx(dense.coefs_paths_, abs=1e-5)
    assert np.array_equal(csr.scores_, dense.scores_)


def test_in_a_pipeline_and_cloned(noisy):
    labels = np.where(noisy.y == 1, "yes", "no")
    model = make_pipeline(StandardScaler(), lrb.LogisticRegressionCV(Cs=3, backend="numpy"))
    again = clone(model).fit(noisy.X, labels)
    assert set(again.predict(noisy.X)) == {"no", "yes"}
    assert again.predict_proba(noisy.X).sum(axis=1) == pytest.approx(1)


def test_groups_reach_the_splitter(noisy):
    from sklearn import config_context

    groups = np.arange(60) // 10
    with config_context(enable_metadata_routing=True):
        model = lrb.LogisticRegressionCV(Cs=2, cv=GroupKFold(3), backend="numpy")
        model.fit(*noisy, groups=groups)
    assert model.scores_.shape == (3, 1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"Cs": [1.0, -1.0]}, "Cs must be a number of values or values > 0"),
        ({"Cs": 0}, "Cs"),
        ({"l1_ratios": (2.0,)}, r"l1_ratios must be values in \[0, 1\]"),
        ({"scoring": "best"}, "scoring"),
        ({"backend": "torch"}, "torch"),
        ({"cv": [(np.arange(3), np.arange(3, 60))]}, "fold 0 of cv trains on only one class"),
    ],
)
def test_options_are_checked(noisy, options, message):
    order = np.argsort(noisy.y)
    model = lrb.LogisticRegressionCV(**({"backend": "numpy"} | options))
    with pytest.raises(ValueError, match=message):
        model.fit(noisy.X[order], noisy.y[order])
