"""Golden hashes: kept for enough cases, met by each backend, and changed by any change of bits."""

import inspect
import json
from types import ModuleType

import numpy as np
import pytest

from lrbackends.backends import numpy_backend, numpy_reproducible
from lrbackends.backends._reproducible import VERSION
from lrbackends.backends.registry import get_backend
from lrbackends.equivalence import golden
from lrbackends.equivalence.golden import CASES
from lrbackends.solvers import FIRST_ORDER

STORED = golden.stored()
SMALL = [case for name, case in CASES.items() if name != golden.LARGE]


@pytest.mark.parametrize("case", CASES)
def test_each_backend_gives_the_golden_bits(backend_name, case):
    found = golden.hash_of(get_backend(backend_name), CASES[case])
    assert found == STORED[case], (
        f"{backend_name} gives other bits than golden.json has for {case!r}; a hash changes only "
        "with the version of docs/reproducible-arithmetic.md (VERSION in _reproducible.py)"
    )


def test_a_hash_is_kept_for_each_case_and_no_other():
    assert STORED.keys() == CASES.keys()
    assert len(set(STORED.values())) == len(CASES) >= 16


# -- what the cases cover


def test_sizes_lie_on_both_sides_of_each_lane_boundary():
    assert {1, 7, 8, 9, 63, 64, 65, 129} <= {case.n for case in SMALL}
    assert {1, 14, 15, 16, 17, 33} <= {case.p for case in SMALL}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("solver", FIRST_ORDER)
def test_each_solver_is_run_in_each_type(solver, dtype):
    assert any((case.solver, case.dtype) == (solver, dtype) for case in SMALL)


@pytest.mark.parametrize("solver", FIRST_ORDER)
def test_each_solver_is_run_on_mini_batches(solver):
    assert any(case.solver == solver and case.batch_size for case in SMALL)


@pytest.mark.parametrize("option", ["l2", "weighted", "replacement", "column_span", "odd_columns"])
def test_each_option_is_used(option):
    assert {bool(getattr(case, option)) for case in SMALL} == {True, False}


def test_a_short_last_batch_occurs():
    assert any(
        case.batches is not None and len(set(case.batches.sizes.tolist())) > 1 for case in SMALL
    )


@pytest.mark.parametrize(
    "case", [case for case in SMALL if "745" in case.name], ids=lambda case: case.name
)
def test_huge_margins_are_huge(case):
    coef, intercept = case.params
    z = case.problem.X @ coef[0] + intercept[0]
    assert np.abs(z).max() > 745


def test_zeros_of_both_signs_and_a_constant_column_occur():
    X = CASES["64 x 16, gd, zeros and constants"].problem.X
    zero, minus_zero, constant, mixed = X[:, :4].T
    assert not zero.any()
    assert not np.signbit(zero).any()
    assert not minus_zero.any()
    assert np.signbit(minus_zero).all()
    assert len(set(constant)) == 1
    assert set(np.signbit(mixed)) == {True, False}


def test_the_ill_conditioned_case_is():
    X = CASES["129 x 16, gd, columns from 1 to 2^-27"].problem.X
    assert np.linalg.cond(X) > 1e8


# -- the data are the same bits everywhere


@pytest.mark.parametrize("case", CASES)
def test_data_are_made_of_integers_and_powers_of_two(case):
    case = CASES[case]
    problem = case.problem
    units = np.ldexp(problem.X.astype(np.float64), 19 + case.column_span)
    assert (units == np.rint(units)).all()
    assert np.abs(problem.X).max() <= 1
    if case.weighted:
        # Divided by their mean, whose numerator is a small integer: two roundings and no sum of
        # inexact terms.
        weight = 1 + (golden._raw(case, 3, case.n) >> np.uint64(61)).astype(int)
        assert (problem.exact_weight == weight / (weight.sum() / case.n)).all()


# -- a hash notices any change


def mutated(**globals_of_it: object) -> ModuleType:
    """Return a copy of `numpy_reproducible`, some of whose globals are others."""
    source = inspect.getsource(numpy_reproducible)
    copy = ModuleType("mutant")
    exec(compile(source, "mutant", "exec"), copy.__dict__)
    copy.__dict__.update(globals_of_it)
    return copy


def rewritten(old: str, new: str) -> ModuleType:
    """Return a copy of `numpy_reproducible` with a piece of its text replaced."""
    source = inspect.getsource(numpy_reproducible)
    assert old in source, "the kernel was rewritten, so this mutation needs another place"
    copy = ModuleType("mutant")
    exec(compile(source.replace(old, new), "mutant", "exec"), copy.__dict__)
    return copy


def left_to_right(lanes):
    total = lanes[0]
    for lane in lanes[1:]:
        total = total + lane
    return total


COEFFICIENTS = numpy_reproducible.EXP_COEFFICIENTS
MUTANTS = {
    "8 feature lanes": lambda: mutated(FEATURE_LANES=8),
    "32 feature lanes": lambda: mutated(FEATURE_LANES=32),
    "4 sample lanes": lambda: mutated(SAMPLE_LANES=4),
    "16 sample lanes": lambda: mutated(SAMPLE_LANES=16),
    "32 loss lanes": lambda: mutated(LOSS_LANES=32),
    "128 loss lanes": lambda: mutated(LOSS_LANES=128),
    "lanes added left to right": lambda: mutated(halve=left_to_right),
    "margins cut at 299": lambda: mutated(LARGEST_EXPONENT=299.0),
    "margins cut at 301": lambda: mutated(LARGEST_EXPONENT=301.0),
    "float32 residuals cut at 2^-39": lambda: mutated(SMALLEST_RESIDUAL_FLOAT32=2.0**-39),
    "float32 residuals cut at 2^-41": lambda: mutated(SMALLEST_RESIDUAL_FLOAT32=2.0**-41),
    "a coefficient off by one unit": lambda: mutated(
        EXP_COEFFICIENTS=(np.nextafter(COEFFICIENTS[0], 1.0), *COEFFICIENTS[1:])
    ),
    "NumPy's exponential": lambda: mutated(exp_of_minus=lambda x: np.exp(-np.minimum(x, 300.0))),
    "NumPy's logarithm": lambda: mutated(log_of_one_plus=np.log1p),
    "logarithm rounded once less": lambda: rewritten("2.0 * s + (s * t) * q", "s * (2.0 + t * q)"),
    "residual in another order": lambda: rewritten(
        "dz = (weight * sign) * a", "dz = weight / (sign / a)"
    ),
    "mean by division": lambda: rewritten("gradient *= X.dtype.type(1.0 / n)", "gradient /= n"),
    "mean loss by division": lambda: rewritten("* (1.0 / n)\n", "/ n\n"),
    "penalty halved late": lambda: rewritten(
        "0.5 * objective.l2 * float(square_norm(coef))",
        "objective.l2 * float(square_norm(X.dtype.type(0.7) * coef))",
    ),
}


def changed(case: golden.Case) -> bool:
    return golden.hash_of(get_backend("numpy"), case) != STORED[case.name]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_hash_changes_with_any_change_of_the_arithmetic(monkeypatch, mutant):
    module = MUTANTS[mutant]()
    monkeypatch.setattr(numpy_backend, "reproducible", module)
    monkeypatch.setattr(numpy_backend, "SAMPLE_LANES", module.SAMPLE_LANES)
    assert any(map(changed, SMALL))


def test_a_hash_changes_with_the_update(monkeypatch):
    monkeypatch.setattr(numpy_backend, "two_sum", lambda a, b: (a + b, np.zeros_like(a)))
    assert any(map(changed, SMALL))


def test_an_unchanged_copy_changes_nothing(monkeypatch):
    monkeypatch.setattr(numpy_backend, "reproducible", mutated())
    assert not any(map(changed, SMALL))


# -- the file


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Keep the hashes in another file, and only of the two smallest cases."""
    path = tmp_path / "golden.json"
    monkeypatch.setattr(golden, "PATH", path)
    some = {name: CASES[name] for name in list(CASES)[:2]}
    monkeypatch.setattr(golden, "CASES", some)
    return path


def test_hashes_of_another_version_are_not_believed(elsewhere):
    elsewhere.write_text(json.dumps({"version": VERSION + 1, "hashes": {}}))
    with pytest.raises(RuntimeError, match=f"version {VERSION + 1}, but the .* version {VERSION}"):
        golden.stored()


def test_hashes_that_are_missing_are_added(elsewhere, capsys):
    golden.main()
    assert golden.stored() == {name: STORED[name] for name in golden.CASES}
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_hashes_that_are_there_are_kept(elsewhere):
    kept = dict.fromkeys(golden.CASES, "kept")
    elsewhere.write_text(json.dumps({"version": VERSION, "hashes": kept}))
    golden.main()
    assert golden.stored() == kept


def test_hashes_that_backends_do_not_agree_on_are_not_written(elsewhere, monkeypatch):
    monkeypatch.setattr(golden, "hash_of", lambda backend, _: backend.name)
    with pytest.raises(SystemExit, match="the backends do not agree"):
        golden.main()
    assert not elsewhere.exists()
