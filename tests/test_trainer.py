import dataclasses
import importlib.util
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

import lrbackends as lrb
from lrbackends._run import Run
from lrbackends.backends import numba_backend
from lrbackends.backends._chunks import _CHUNK_BYTES
from lrbackends.errors import DivergenceError, DivergenceWarning, UnsupportedError
from lrbackends.objective import mean_log_loss
from lrbackends.solvers import ADAM_RATE, FIRST_ORDER, safe_rate, smoothness

KINDS = pytest.mark.parametrize("batch_size", [None, 16], ids=["full-batch", "mini-batch"])


def bits(result) -> bytes:
    return b"".join(
        np.asarray(part).tobytes() for part in (*result.state, *result.history.values())
    )


@pytest.fixture(scope="module")
def fresh(noisy):
    """The same distribution as ``noisy``, drawn anew: 40 rows for validation."""
    rng = np.random.default_rng(9)
    X = rng.normal(size=(40, 3))
    return X, (X @ [1.2, 0.4, 0.5] - 1.0 + rng.logistic(size=40) > 0).astype(np.int64)


# -- what is minimised, and from where


@pytest.mark.parametrize("solver", FIRST_ORDER)
@KINDS
def test_every_solver_lowers_the_loss(backend_name, noisy, solver, batch_size):
    result = lrb.Trainer(
        backend_name, solver, epochs=30, batch_size=batch_size, random_state=0
    ).fit(*noisy)
    assert result.initial_loss == pytest.approx(np.log(2.0), rel=1e-15)
    assert result.loss < result.initial_loss
    assert result.history["loss"].shape == (30,)
    assert result.loss == result.history["loss"][-1]
    problem = lrb.Problem(*noisy)
    z = result.decision_function(noisy.X)
    assert result.loss == pytest.approx(mean_log_loss(z, problem), rel=1e-13)


def test_real_digits_are_told_apart(backend_name, digits01):
    result = lrb.Trainer(
        backend_name, "nesterov", l2=1e-3, epochs=200, validation_fraction=0.25, random_state=0
    ).fit(*digits01)
    assert result.history["validation_accuracy"][-1] == 1.0
    assert result.accuracy(*digits01) == 1.0


def test_the_default_rate_is_one_over_the_smoothness(backend_name, noisy):
    problem, objective = lrb.Problem(*noisy), lrb.Objective(l2=0.1)
    for batch_size in (None, 16):
        result = lrb.Trainer(backend_name, l2=0.1, epochs=1, batch_size=batch_size).fit(*noisy)
        assert result.learning_rate == safe_rate(smoothness(problem, objective, batch_size))
    assert lrb.Trainer(backend_name, "adam", epochs=1).fit(*noisy).learning_rate == ADAM_RATE
    assert lrb.Trainer(backend_name, learning_rate=0.25, epochs=1).fit(*noisy).learning_rate == 0.25


def test_training_starts_where_it_is_told(backend_name, noisy):
    init = np.array([0.5, -1.0, 2.0]), 0.25
    result = lrb.Trainer(backend_name, init=init, epochs=0).fit(*noisy)
    assert result.coef.tolist() == [[0.5, -1.0, 2.0]]
    assert result.intercept.tolist() == [0.25]
    zeros = lrb.Trainer(backend_name, epochs=0).fit(*noisy)
    assert zeros.coef.tolist() == [[0.0, 0.0, 0.0]]
    assert zeros.intercept.tolist() == [0.0]


def test_a_random_start_follows_the_seed_and_the_scale(noisy, backend_names):
    def start(seed, scale=0.01, backend="numpy"):
        trainer = lrb.Trainer(backend, init="normal", init_scale=scale, epochs=0, random_state=seed)
        params = trainer.fit(*noisy).params
        return np.append(params.coef, params.intercept)

    assert len({start(3, backend=name).tobytes() for name in backend_names}) == 1
    assert start(3).tobytes() == start(3).tobytes() != start(4).tobytes()
    np.testing.assert_allclose(start(3, scale=1.0), 100 * start(3), rtol=1e-14)
    many = lrb.Trainer("numpy", init="normal", init_scale=2.0, epochs=0, random_state=0, l2=1.0)
    drawn = many.fit(np.eye(2, 4000), [0, 1]).coef
    assert drawn.std() == pytest.approx(2.0, rel=0.05)
    assert abs(drawn.mean()) < 0.15


@KINDS
def test_without_an_intercept_it_stays_zero(backend_name, noisy, batch_size):
    result = lrb.Trainer(
        backend_name,
        fit_intercept=False,
        init=([0.1, 0.2, 0.3], 5.0),
        epochs=20,
        batch_size=batch_size,
        random_state=0,
    ).fit(*noisy)
    assert result.intercept.tolist() == [0.0]
    assert np.abs(result.coef).min() > 0


def test_the_penalty_shrinks_the_weights_but_not_the_intercept(backend_name, noisy):
    result = lrb.Trainer(backend_name, "nesterov", l2=100.0, momentum=0.97, epochs=1000).fit(*noisy)
    share = noisy.y.mean()
    # At the optimum l2 |w_j| is a mean of |dz x_j|, and |dz| <= 1.
    assert (100.0 * np.abs(result.coef[0]) <= np.abs(noisy.X).mean(axis=0)).all()
    assert result.intercept[0] == pytest.approx(np.log(share / (1 - share)), rel=1e-2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@KINDS
def test_the_type_of_the_option_is_computed_in(backend_name, noisy, dtype, batch_size):
    result = lrb.Trainer(
        backend_name, dtype=dtype, epochs=5, batch_size=batch_size, random_state=0
    ).fit(*noisy)
    assert result.dtype == dtype
    assert result.coef.dtype == result.intercept.dtype == result.state.theta.dtype == dtype
    assert result.history["loss"].dtype == np.float64


# -- weights


def test_a_weight_of_two_is_a_repeated_row(backend_name, noisy, row_weights):
    weight = (row_weights + 1).astype(int)
    trainer = lrb.Trainer(backend_name, "nesterov", l2=0.01, epochs=100)
    weighted = trainer.fit(*noisy, sample_weight=weight)
    repeated = trainer.fit(np.repeat(noisy.X, weight, axis=0), np.repeat(noisy.y, weight))
    assert weighted.learning_rate == repeated.learning_rate
    np.testing.assert_allclose(weighted.coef, repeated.coef, rtol=1e-12)
    np.testing.assert_allclose(weighted.intercept, repeated.intercept, rtol=1e-12)
    np.testing.assert_allclose(weighted.history["loss"], repeated.history["loss"], rtol=1e-13)


@KINDS
def test_a_weight_of_zero_is_a_missing_row(backend_name, noisy, row_weights, batch_size):
    weight = (row_weights > 0).astype(float)
    trainer = lrb.Trainer(backend_name, epochs=20, batch_size=batch_size, random_state=0)
    kept = weight > 0
    assert bits(trainer.fit(*noisy, sample_weight=weight)) == bits(
        trainer.fit(noisy.X[kept], noisy.y[kept])
    )


@KINDS
def test_the_scale_of_the_weights_does_not_matter(backend_name, noisy, row_weights, batch_size):
    trainer = lrb.Trainer(backend_name, epochs=20, batch_size=batch_size, random_state=0)
    assert bits(trainer.fit(*noisy, sample_weight=row_weights)) == bits(
        trainer.fit(*noisy, sample_weight=4.0 * row_weights)
    )


# -- mini-batches


def test_a_batch_of_all_rows_is_the_full_batch(backend_name, noisy):
    full = lrb.Trainer(backend_name, epochs=10).fit(*noisy)
    for size in (60, 1000):
        assert bits(lrb.Trainer(backend_name, epochs=10, batch_size=size).fit(*noisy)) == bits(full)


@pytest.mark.parametrize("replacement", [False, True], ids=["shuffled", "replaced"])
def test_every_backend_sees_the_same_batches(backend_names, noisy, replacement):
    results = [
        lrb.Trainer(
            name,
            "momentum",
            epochs=5,
            batch_size=7,
            replacement=replacement,
            random_state=5,
            learning_rate=0.1,
        ).fit(*noisy)
        for name in backend_names
    ]
    for other in results[1:]:
        np.testing.assert_allclose(other.coef, results[0].coef, rtol=1e-13)
        np.testing.assert_allclose(other.history["loss"], results[0].history["loss"], rtol=1e-13)


def test_with_replacement_differs_from_without(noisy):
    trainer = lrb.Trainer("numpy", epochs=2, batch_size=7, random_state=5, learning_rate=0.1)
    other = dataclasses.replace(trainer, replacement=True)
    assert bits(trainer.fit(*noisy)) != bits(other.fit(*noisy))


# -- counting


def test_steps_and_passes_are_counted(noisy):
    full = lrb.Trainer("numpy", epochs=10).fit(*noisy)
    assert (full.n_epochs, full.n_steps) == (10, 10)
    assert full.n_passes == 11  # one look more than steps, for the last loss
    batches = lrb.Trainer("numpy", epochs=10, batch_size=16, random_state=0).fit(*noisy)
    assert (batches.n_epochs, batches.n_steps) == (10, 40)
    assert batches.n_passes == 21  # after each epoch a look at the loss on all rows


@KINDS
def test_no_epochs_return_the_start(backend_name, noisy, fresh, batch_size):
    result = lrb.Trainer(
        backend_name, init=([1.0, 2.0, 3.0], 4.0), epochs=0, batch_size=batch_size
    ).fit(*noisy, validation_data=fresh)
    assert (result.n_epochs, result.n_steps, result.best_epoch) == (0, 0, 0)
    assert result.status == "completed"
    assert not result.converged
    assert result.coef.tolist() == [[1.0, 2.0, 3.0]]
    assert result.loss == result.initial_loss
    assert {name: len(values) for name, values in result.history.items()} == {
        "loss": 0,
        "validation_loss": 0,
        "validation_accuracy": 0,
    }


def test_timings_tell_the_parts_apart(backend_name, noisy):
    began = time.perf_counter()
    result = lrb.Trainer(backend_name, epochs=10).fit(*noisy)
    elapsed = time.perf_counter() - began
    assert set(result.timings) == {
        *("import", "data", "transfer", "compile", "run", "checks", "total")
    }
    assert all(seconds >= 0 for seconds in result.timings.values())
    parts = sum(seconds for name, seconds in result.timings.items() if name != "total")
    assert parts <= result.timings["total"] <= elapsed
    penalised = lrb.Trainer(backend_name, epochs=10, l2=0.1).fit(*noisy)
    assert "checks" not in penalised.timings


# -- stopping


def test_all_epochs_done(noisy):
    result = lrb.Trainer("numpy", epochs=7).fit(*noisy)
    assert result.status == "completed"
    assert result.reason == "all 7 epochs done"
    assert not result.converged


@KINDS
def test_a_small_gradient_ends_training(backend_name, noisy, batch_size):
    options = {"l2": 0.1, "batch_size": batch_size, "random_state": 0, "epochs": 2000}
    if batch_size:
        options |= {"learning_rate": 1e-2}
    tol = 1e-8 if batch_size is None else 5e-3
    result = lrb.Trainer(backend_name, tol=tol, **options).fit(*noisy)
    assert result.status == "converged"
    assert result.converged
    assert result.reason == f"no entry of the gradient exceeds tol={tol:g}"
    assert 0 < result.gradient_norm <= tol
    assert 0 < result.n_epochs < 2000
    assert result.history["loss"].shape == (result.n_epochs,)
    before = lrb.Trainer(backend_name, tol=tol, **options | {"epochs": result.n_epochs}).fit(*noisy)
    assert bits(before) == bits(result)
    kernels = lrb.get_backend(backend_name).compile(lrb.Problem(*noisy), lrb.Objective(l2=0.1))
    _, gradient = kernels.loss_gradient(result.params)
    norm = max(np.abs(part).max() for part in gradient)
    assert norm == pytest.approx(result.gradient_norm, rel=1e-6)


def test_the_first_small_gradient_ends_training(backend_name, noisy):
    result = lrb.Trainer(backend_name, l2=0.1, tol=1e-6, epochs=2000).fit(*noisy)
    problem = lrb.Problem(*noisy)
    kernels = lrb.get_backend(backend_name).compile(problem, lrb.Objective(l2=0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one epoch short of convergence
        earlier = lrb.Trainer(backend_name, l2=0.1, epochs=result.n_epochs - 1).fit(*noisy)
    norms = [
        max(np.abs(part).max() for part in kernels.loss_gradient(some.params)[1])
        for some in (earlier, result)
    ]
    assert norms[1] <= 1e-6 < norms[0]


def test_a_start_at_the_optimum_needs_no_step(backend_name, noisy):
    optimum = lrb.Trainer(backend_name, "nesterov", l2=0.1, tol=1e-12).fit(*noisy)
    again = lrb.Trainer(backend_name, l2=0.1, tol=1e-11, init=optimum.params).fit(*noisy)
    assert (again.status, again.n_epochs, again.n_steps) == ("converged", 0, 0)
    assert again.coef.tobytes() == optimum.coef.tobytes()


def end_by_patience(losses, patience: int, min_delta: float) -> tuple[int, int]:
    """Return (epochs done, best epoch) for the losses after 0, 1, 2, … epochs."""
    reference, since, done = losses[0], 0, 0
    while done - since < patience and done + 1 < len(losses):
        done += 1
        if losses[done] < reference - min_delta:
            reference, since = losses[done], done
    return done, int(np.argmin(losses[: done + 1]))


@pytest.mark.parametrize("min_delta", [0.0, 1e-3])
@pytest.mark.parametrize("monitor", ["training", "validation_fraction", "validation_data"])
@KINDS
def test_patience_returns_the_best_parameters(
    backend_name, noisy, fresh, batch_size, monitor, min_delta
):
    trainer = lrb.Trainer(
        backend_name,
        "momentum",
        l2=1e-3,
        momentum=0.97,
        learning_rate=0.4 if batch_size is None else 0.05,
        epochs=80,
        batch_size=batch_size,
        random_state=1,
        validation_fraction=0.2 if monitor == "validation_fraction" else None,
    )
    data = {"validation_data": fresh} if monitor == "validation_data" else {}
    whole = trainer.fit(*noisy, **data)
    if monitor == "training":
        losses = np.append(whole.initial_loss, whole.history["loss"])
        end, best = end_by_patience(losses, 6, min_delta)
    else:  # the validation loss is known from the first epoch on
        end, best = (k + 1 for k in end_by_patience(whole.history["validation_loss"], 6, min_delta))
    assert best < end < 80, "the example is too well-behaved to test patience"

    patient = dataclasses.replace(trainer, patience=6, min_delta=min_delta)
    result = patient.fit(*noisy, **data)
    assert result.status == "early_stopped"
    monitored = "training" if monitor == "training" else "validation"
    assert result.reason == (
        f"the {monitored} loss did not fall by more than {min_delta:g} for 6 epochs"
    )
    assert (result.n_epochs, result.best_epoch) == (end, best)
    for name, values in result.history.items():
        assert values.tobytes() == whole.history[name][:end].tobytes()

    shorter = dataclasses.replace(trainer, epochs=best).fit(*noisy, **data)
    assert result.coef.tobytes() == shorter.coef.tobytes()
    assert result.intercept.tobytes() == shorter.intercept.tobytes()
    assert result.loss == shorter.loss


def test_patience_that_lasts_changes_nothing_but_the_choice_of_the_best(backend_name, noisy):
    trainer = lrb.Trainer(backend_name, epochs=20)
    patient = dataclasses.replace(trainer, patience=5).fit(*noisy)
    assert patient.status == "completed"
    assert patient.best_epoch == 20
    assert bits(patient) == bits(trainer.fit(*noisy))


@KINDS
def test_the_best_epoch_may_be_the_start(backend_name, noisy, batch_size):
    optimum = lrb.Trainer("numpy", "nesterov", l2=0.1, tol=1e-12).fit(*noisy)
    result = lrb.Trainer(
        backend_name,
        l2=0.1,
        init=optimum.params,
        learning_rate=0.9 * optimum.learning_rate if batch_size is None else 1.0,
        batch_size=batch_size,
        random_state=0,
        min_delta=0.1,
        patience=3,
        epochs=50,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        result = result.fit(*noisy)
    assert result.status == "early_stopped"
    assert result.n_epochs == 3
    if batch_size:
        assert result.best_epoch == 0
        assert result.coef.tobytes() == optimum.coef.tobytes()
        assert result.loss == result.initial_loss


@pytest.mark.parametrize("options", [{}, {"patience": 3}, {"tol": 1e-5}, {"batch_size": 16}])
def test_how_steps_are_cut_into_native_calls_does_not_matter(
    monkeypatch, backend_name, noisy, options
):
    """The cuts come from measured times: results must not depend on them."""
    trainer = lrb.Trainer(
        backend_name, "momentum", l2=0.1, momentum=0.95, epochs=100, random_state=0, **options
    )
    found = set()
    for seconds in (0.0, 2e-4, 1e9):
        monkeypatch.setattr("lrbackends._stopping._CHUNK_SECONDS", seconds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.add(bits(trainer.fit(*noisy)))
    assert len(found) == 1


# -- divergence


@pytest.mark.parametrize("rate", [1e4, 1e300])
@KINDS
def test_an_explosion_is_an_error_that_holds_the_best_result(backend_name, noisy, batch_size, rate):
    with pytest.raises(DivergenceError) as caught:
        lrb.Trainer(
            backend_name, learning_rate=rate, batch_size=batch_size, random_state=0, epochs=50
        ).fit(*noisy)
    safe = safe_rate(smoothness(lrb.Problem(*noisy), lrb.Objective(), batch_size))
    assert f"the largest safe learning_rate for these data is {safe:.6g} (1/L)" in str(caught.value)
    assert str(caught.value).startswith("training diverged in epoch ")
    result = caught.value.result
    assert result.status == "diverged"
    assert str(caught.value).startswith(result.reason)
    assert not result.converged
    assert np.isfinite(result.coef).all()
    assert result.loss <= result.initial_loss
    assert result.best_epoch <= result.n_epochs < 50
    assert result.history["loss"].shape == (result.n_epochs,)


def test_a_diverged_run_has_a_full_history(backend_name, noisy, fresh):
    with pytest.raises(DivergenceError) as caught:
        lrb.Trainer(backend_name, learning_rate=1e4, epochs=50).fit(*noisy, validation_data=fresh)
    result = caught.value.result
    assert {len(values) for values in result.history.values()} == {result.n_epochs}


def test_the_safe_step_named_by_the_error_is_safe(backend_name, noisy):
    with pytest.raises(DivergenceError) as caught:
        lrb.Trainer(backend_name, learning_rate=1e4).fit(*noisy)
    rate = float(str(caught.value).split(" is ")[-1].split()[0])
    result = lrb.Trainer(backend_name, learning_rate=rate, epochs=100).fit(*noisy)
    assert (np.diff(result.history["loss"]) <= 1e-15).all()


def test_a_loss_that_rises_is_reported(backend_name, noisy):
    problem = lrb.Problem(*noisy)
    rate = 4.0 / smoothness(problem, lrb.Objective())
    with pytest.warns(DivergenceWarning, match=r"rose with learning_rate=.* \(1/L\)") as caught:
        lrb.Trainer(backend_name, learning_rate=rate, epochs=50).fit(*noisy)
    assert len(caught) == 1
    assert caught[0].filename == __file__


# -- validation data


def test_validation_is_that_of_the_result(backend_name, noisy, fresh):
    result = lrb.Trainer(backend_name, epochs=12).fit(*noisy, validation_data=fresh)
    assert {len(values) for values in result.history.values()} == {12}
    z = result.decision_function(fresh[0])
    loss = mean_log_loss(z, lrb.Problem(*fresh))
    assert result.history["validation_loss"][-1] == pytest.approx(loss, rel=1e-13)
    assert result.history["validation_accuracy"][-1] == result.accuracy(*fresh)
    assert result.history["validation_accuracy"][-1] == np.mean((z > 0) == fresh[1])


def test_validation_does_not_change_training(backend_name, noisy, fresh):
    trainer = lrb.Trainer(backend_name, epochs=12)
    watched = trainer.fit(*noisy, validation_data=fresh)
    assert watched.coef.tobytes() == trainer.fit(*noisy).coef.tobytes()


def test_the_validation_split_is_stratified_and_follows_the_seed(noisy):
    def split(seed):
        result = lrb.Trainer("numpy", epochs=3, validation_fraction=0.3, random_state=seed).fit(
            *noisy
        )
        return result.history["validation_loss"].tobytes(), result.history["validation_accuracy"]

    assert split(0)[0] == split(0)[0] != split(1)[0]
    # 18 of 60 rows are set aside: accuracies are multiples of 1/18.
    ratio = split(0)[1] * 18
    np.testing.assert_allclose(ratio, np.rint(ratio), atol=1e-12)


def test_a_class_of_two_rows_is_still_on_both_sides_of_the_split():
    X = np.arange(20.0)[:, None] % 7
    y = np.array([1, 1] + [0] * 18)
    result = lrb.Trainer("numpy", l2=0.1, epochs=2, validation_fraction=0.5, random_state=0).fit(
        X, y
    )
    assert result.classes.tolist() == [0, 1]


def test_validation_rows_may_be_of_one_class(backend_name, noisy):
    ones = noisy.y == 1
    result = lrb.Trainer(backend_name, epochs=2).fit(
        *noisy, validation_data=(noisy.X[ones], noisy.y[ones])
    )
    assert result.history["validation_accuracy"].shape == (2,)


@pytest.mark.parametrize(
    ("options", "validation", "message"),
    [
        (
            {"validation_fraction": 0.2},
            lambda X, y: (X, y),
            "give validation_data or validation_fraction, not both",
        ),
        ({}, lambda X, y: (X[:, :2], y), "validation X has 2 features, training X has 3"),
        ({}, lambda X, y: (X, y + 1), "label .*2.* in row 0, .* training classes"),
        ({}, lambda X, y: (np.full_like(X, np.nan), y), "validation.*NaN.*row 0, column 0"),
        ({"validation_fraction": 0.001}, None, "validation_fraction=0.001 does not work"),
        ({"validation_fraction": 0.999}, None, "validation_fraction=0.999 does not work"),
    ],
    ids=["both", "features", "label", "nan", "too-few", "too-many"],
)
def test_unusable_validation_data_are_refused(noisy, options, validation, message):
    X, y = noisy.X, noisy.y[::-1]
    data = {} if validation is None else {"validation_data": validation(X, np.sort(y)[::-1])}
    with pytest.raises(ValueError, match=message):
        lrb.Trainer("numpy", epochs=2, **options).fit(X, y, **data)


@pytest.mark.parametrize("given", [3, (np.zeros((2, 3)),), "XyXy"])
def test_validation_data_that_are_no_pair_are_refused(noisy, given):
    with pytest.raises((TypeError, ValueError), match=r"validation_data .*\(X, y\)"):
        lrb.Trainer("numpy", epochs=2).fit(*noisy, validation_data=given)


# -- reproducibility


@KINDS
def test_the_same_seed_gives_the_same_bits(backend_name, noisy, batch_size):
    trainer = lrb.Trainer(
        backend_name, "adam", init="normal", epochs=9, batch_size=batch_size, random_state=11
    )
    first, second = trainer.fit(*noisy), trainer.fit(noisy.X.copy(), noisy.y.copy())
    assert first.random_state == second.random_state == 11
    assert bits(first) == bits(second)
    other = dataclasses.replace(trainer, random_state=12).fit(*noisy)
    assert bits(other) != bits(first)


@KINDS
def test_a_drawn_seed_is_reported_and_repeats_the_run(backend_name, noisy, batch_size):
    trainer = lrb.Trainer(backend_name, init="normal", epochs=5, batch_size=batch_size)
    first, second = trainer.fit(*noisy), trainer.fit(*noisy)
    assert first.random_state != second.random_state
    repeated = dataclasses.replace(trainer, random_state=first.random_state).fit(*noisy)
    assert bits(repeated) == bits(first)


@pytest.mark.parametrize("seed", [0, 2**32, 2**63 - 1, np.int64(5)])
def test_large_seeds_are_kept(noisy, seed):
    trainer = lrb.Trainer(
        "numpy", init="normal", epochs=2, batch_size=16, validation_fraction=0.2, random_state=seed
    )
    assert trainer.fit(*noisy).random_state == seed


def test_fits_at_the_same_time_give_the_bits_of_fits_one_by_one(backend_name):
    rng = np.random.default_rng(0)
    n = int(2.2 * _CHUNK_BYTES / 800)  # enough for two threads each
    X = rng.normal(size=(n, 100))
    y = X[:, 0] + rng.logistic(size=n) > 0
    trainers = [
        lrb.Trainer(backend_name, solver, l2=0.1, epochs=6, batch_size=size, random_state=0)
        for solver, size in (("gd", None), ("nesterov", 1500))
    ]
    alone = [bits(trainer.fit(X, y)) for trainer in trainers]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda trainer: bits(trainer.fit(X, y)), trainers * 2))
    assert together == alone * 2


# -- compiling


def fits(name):
    """Fits that between them use every kernel of a backend."""
    trainer = lrb.Trainer(name, "gd", epochs=4, random_state=0)
    return [
        trainer,
        dataclasses.replace(trainer, validation_fraction=0.2, patience=2),
        dataclasses.replace(trainer, solver="adam", batch_size=16, tol=1e-9, epochs=3),
    ]


@pytest.fixture
def new_backend(backend_name):
    """A backend that has compiled nothing yet for the shapes of ``rows_of_its_own``."""
    if backend_name != "numba":
        return lrb.get_backend(backend_name)
    spec = importlib.util.spec_from_file_location("numba_backend_anew", numba_backend.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.NumbaBackend()


@pytest.fixture
def rows_of_its_own(noisy):
    """Data of a shape that no other test uses."""
    return np.vstack([noisy.X, noisy.X[:3]]), np.append(noisy.y, noisy.y[:3])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("engine", ["numba", "jax"])
def test_a_second_fit_with_the_same_shapes_compiles_nothing(engine, noisy, compilations):
    for trainer in fits(engine):
        trainer.fit(*noisy)
        with compilations(engine) as seen:
            trainer.fit(noisy.X.copy(), 1 - noisy.y)
        assert list(seen) == []


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("engine", ["numba", "jax"])
def test_other_hyper_parameters_compile_nothing(engine, noisy, compilations):
    for trainer in fits(engine):
        trainer.fit(*noisy)
        other = dataclasses.replace(
            trainer,
            l2=0.125,
            learning_rate=0.03125,
            momentum=0.5,
            decay2=0.75,
            epsilon=1e-3,
            epochs=137,
            min_delta=1e-9,
            random_state=99,
            init="normal",
        )
        with compilations(engine) as seen:
            other.fit(*noisy)
        assert list(seen) == []


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("backend_name", ["numba", "jax"], indirect=True)
def test_compiling_is_timed_as_compiling(
    monkeypatch, backend_name, new_backend, rows_of_its_own, compilations
):
    timed, during = Run._timed, Counter()

    @contextmanager
    def counted(run, name):
        before = len(seen)
        with timed(run, name):
            yield
        during[name] += len(seen) - before

    monkeypatch.setattr(Run, "_timed", counted)
    trainer = lrb.Trainer(
        new_backend, epochs=3, batch_size=16, tol=1e-9, validation_fraction=0.2, random_state=0
    )
    with compilations(backend_name) as seen:
        trainer.fit(*rows_of_its_own)
    assert during["compile"] > 0, "nothing was compiled: the check could not fail"
    assert during["run"] == 0


# -- options


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backend": "nunba"}, ValueError, "backend 'nunba' is unknown"),
        ({"solver": "sgd"}, ValueError, "solver='sgd' is unknown; choose from gd, momentum"),
        ({"arithmetic": "exact"}, ValueError, "arithmetic='exact' is unknown; choose from fast"),
        ({"init": "ones"}, ValueError, "init='ones' is unknown; choose from zeros, normal"),
        ({"init": 5}, TypeError, r"init .*\(coef, intercept\)"),
        ({"init": ([0, 0], 0)}, ValueError, r"expected coef \(1, 3\) and intercept \(1,\)"),
        ({"init": ([0, 0, np.nan], 0)}, ValueError, "init has NaN or infinite parameters"),
        ({"dtype": "float16"}, ValueError, "dtype='float16' is not supported; use 'float64'"),
        ({"epochs": -1}, ValueError, "epochs must be .* >= 0, got -1"),
        ({"epochs": 2.5}, ValueError, "epochs must be an integer >= 0, got 2.5"),
        ({"epochs": np.inf}, ValueError, "epochs must be an integer >= 0, got inf"),
        ({"epochs": True}, TypeError, "epochs must be an integer, got True"),
        ({"epochs": "10"}, TypeError, "epochs must be an integer, got '10'"),
        ({"batch_size": 0}, ValueError, "batch_size must be .* >= 1, got 0"),
        ({"patience": 0}, ValueError, "patience must be .* >= 1, got 0"),
        ({"n_threads": 0}, ValueError, "n_threads must be .* >= 1, got 0"),
        ({"min_delta": -1e-9}, ValueError, "min_delta must be .* >= 0, got -1e-09"),
        ({"tol": np.nan}, ValueError, "tol must be .* >= 0, got nan"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be .* > 0, got 0.0"),
        ({"learning_rate": np.inf}, ValueError, "learning_rate must be .* > 0, got inf"),
        ({"momentum": 1.0}, ValueError, "momentum must be .* >= 0 and < 1, got 1.0"),
        ({"decay2": 1.5}, ValueError, "decay2 must be .* >= 0 and < 1, got 1.5"),
        ({"epsilon": 0.0}, ValueError, "epsilon must be .* > 0, got 0.0"),
        ({"init_scale": -1}, ValueError, "init_scale must be .* >= 0, got -1"),
        (
            {"validation_fraction": 1.0},
            ValueError,
            "validation_fraction must be .* > 0 and < 1, got 1.0",
        ),
        ({"random_state": -1}, ValueError, "random_state must be .* >= 0"),
        ({"random_state": 0.5}, ValueError, "random_state must be an integer"),
        ({"fit_intercept": "no"}, TypeError, "fit_intercept must be True or False, got 'no'"),
        ({"replacement": "no"}, TypeError, "replacement must be True or False, got 'no'"),
        ({"callbacks": 1}, TypeError, "callbacks must be"),
        ({"callbacks": (1,)}, TypeError, "callbacks must be"),
        ({"callbacks": print}, TypeError, "callbacks must be"),
        ({"l2": -0.1}, ValueError, "l2 must be .* >= 0, got -0.1"),
        ({"l1": 0.1, "solver": "adam"}, UnsupportedError, "takes no proximal steps"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_wrong_options_are_refused_by_name(noisy, options, error, message):
    with pytest.raises(error, match=message) as caught:
        lrb.Trainer(**{"backend": "numpy", "epochs": 2} | options).fit(*noisy)
    assert caught.type is error
    assert "\n" not in str(caught.value)


def test_a_trainer_is_a_value(noisy):
    trainer = lrb.Trainer("numpy", "adam", epochs=3)
    assert trainer == lrb.Trainer("numpy", "adam", epochs=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        trainer.epochs = 5
    with pytest.raises(TypeError):
        lrb.Trainer("numpy", "gd", 0.5)
