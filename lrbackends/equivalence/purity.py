"""Check "purity": kernels are functions of their arguments, and report what they did.

Training is stopped, replayed and resumed by calling `run` again, so a call must write to nothing it
was given, remember nothing of earlier calls, and return the same bits for the same arguments: in
one go or in two, on one thread or on several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrbackends import solvers
from lrbackends.backends.protocol import (
    Backend,
    Batches,
    Kernels,
    Rule,
    State,
    initial_state,
    pack,
    unpack,
)
from lrbackends.equivalence import problems
from lrbackends.equivalence.evidence import Evidence
from lrbackends.equivalence.figures import summation_limit
from lrbackends.equivalence.gradient import errors
from lrbackends.equivalence.plan import Job, Plan, per_backend
from lrbackends.equivalence.problems import Setting
from lrbackends.equivalence.reference import batches_of_steps, describe
from lrbackends.objective import Objective, Params, reference_loss_gradient

NAME = "purity"
_STEPS, _SPLIT = 12, 5
_BATCH_SIZE = 12  # 64 rows leave a short batch at the end of each epoch


class _Finding(NamedTuple):
    case: str
    figure: str
    value: float
    note: str
    limit: float = 0.0


def jobs(plan: Plan) -> Iterator[Job]:
    """Plan the check."""
    return per_backend(plan, measure, "purity")


def measure(plan: Plan, backend: Backend) -> Iterable[Evidence]:
    """Return the evidence on one backend."""
    for f in _findings(plan, backend):
        yield Evidence(NAME, backend.name, f.case, f.figure, f.value, f.limit, f.note)


def _findings(plan: Plan, backend: Backend) -> Iterator[_Finding]:
    problem = problems.small()
    coef = np.random.default_rng(10).normal(size=(1, problem.n_features))
    setting = Setting("", problem, Objective(l2=0.125), Params(coef, np.array([0.4])))
    arrays = problem.X, problem.y, problem.sign, problem.weight
    before = [part.copy() for part in arrays]
    kernels = plan.compile(backend, setting)
    yield _of_gradient(kernels, setting.params)
    rate = solvers.safe_rate(solvers.smoothness(problem, setting.objective, _BATCH_SIZE))
    batches = batches_of_steps(problem.n_samples, _BATCH_SIZE, 1, _STEPS)
    for name in solvers.FIRST_ORDER:
        rule = solvers.UpdateRule(name, rate)
        yield from _of_run(f"{name}, full batch", setting, kernels, rule, None)
        yield from _of_run(f"{name}, mini-batches", setting, kernels, rule, batches)
    yield _written("all calls", "the problem's arrays", before, arrays)
    slopes = Setting("", problem, Objective(fit_intercept=False), Params(coef, np.zeros(1)))
    for case, some in (("full batch", None), ("mini-batches", batches)):
        state, _ = plan.compile(backend, slopes).run(
            solvers.UpdateRule("gd", rate), initial_state(slopes.params), _STEPS, some
        )
        note = "size of the intercept, which has to stay at zero"
        yield _Finding(f"gd, {case}, no intercept", "intercept", float(abs(state.theta[-1])), note)
    if backend.capabilities().threads:
        yield _of_threads(plan, backend)


def _differing(a: Iterable[Any], b: Iterable[Any]) -> float:
    """Return how many entries of the arrays in ``a`` and ``b`` differ in any bit."""
    return float(sum(_differing_entries(u, v) for u, v in zip(a, b, strict=True)))


def _differing_entries(a: Any, b: Any) -> int:
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return int(max(a.size, b.size, 1))
    bits, others = (
        np.frombuffer(v.tobytes(), np.uint8).reshape(-1, v.dtype.itemsize) for v in (a, b)
    )
    return int(np.any(bits != others, axis=1).sum())


def _written(case: str, what: str, before: Iterable[Any], after: Iterable[Any]) -> _Finding:
    note = f"entries of {what} that a call changed"
    return _Finding(case, "entries written to", _differing(before, after), note)


def _of_gradient(kernels: Kernels, params: Params) -> _Finding:
    """Call twice, with another call between: same bits, arguments and earlier answers untouched."""
    given = Params(*(part.copy() for part in params))
    loss, gradient = kernels.loss_gradient(given)
    kept = [part.copy() for part in gradient]
    kernels.loss_gradient(Params(*(2 * part for part in params)))
    changed = _differing([*kept, *params], [*gradient, *given])
    again, repeated = kernels.loss_gradient(given)
    value = changed + _differing([loss, *kept], [again, *repeated])
    note = "entries that differ between equal calls, and entries that another call changed"
    return _Finding("loss_gradient", "differing entries", value, note)


def _of_run(
    case: str, setting: Setting, kernels: Kernels, rule: Rule, batches: Batches | None
) -> Iterator[_Finding]:
    start, given = initial_state(setting.params), initial_state(setting.params)

    def run(state: State, begin: int, end: int) -> tuple[State, NDArray[np.float64]]:
        some = None if batches is None else Batches(*(part[begin:end] for part in batches))
        return kernels.run(rule, state, end - begin, some)

    drawn = [] if batches is None else [part.copy() for part in batches]
    state, records = run(given, 0, _STEPS)
    what = "the state and the batches"
    yield _written(case, what, [*start[:4], *drawn], [*given[:4], *(batches or ())])

    repeated, repeated_records = run(start, 0, _STEPS)
    value = _differing([*state[:4], records], [*repeated[:4], repeated_records])
    note = "entries that differ between equal calls"
    yield _Finding(case, "differing entries, repeated", value, note)

    midway, first_records = run(start, 0, _SPLIT)
    resumed, last_records = run(midway, _SPLIT, _STEPS)
    in_parts = [*resumed[:4], np.concatenate([first_records, last_records])]
    value = _differing([*state[:4], records], in_parts)
    note = f"entries that differ between {_STEPS} steps and {_SPLIT} + {_STEPS - _SPLIT} steps"
    yield _Finding(case, "differing entries, in two parts", value, note)

    miscounted = abs(state.step - _STEPS) + abs(midway.step - _SPLIT)
    note = "State.step against the steps asked for"
    yield _Finding(case, "steps miscounted", float(miscounted), note)

    states = (run(start, 0, t)[0] if t else start for t in range(_STEPS))
    value = max(
        _record_error(setting, state, batches, t, records[t]) for t, state in enumerate(states)
    )
    note = (
        f"error of loss and gradient norm recorded before each step against {describe()}, in units "
        "of eps times the sum of the absolute terms that are added up"
    )
    yield _Finding(case, "records", value, note, summation_limit(setting.problem.n_samples))


def _record_error(
    setting: Setting, state: State, batches: Batches | None, t: int, record: NDArray[np.float64]
) -> float:
    problem = setting.problem
    if batches is not None:
        problem = problem.take(batches.indices[t, : batches.sizes[t]])
    here = Setting("", problem, setting.objective, unpack(state.theta, problem.n_features))
    loss, gradient = reference_loss_gradient(problem, setting.objective, here.params)
    exact = np.abs(pack(gradient))
    # Only the largest entry is recorded; the others take their exact values.
    recorded = exact.copy()
    recorded[exact.argmax()] = record[1]
    return max(errors(here, record[0], recorded, loss, exact))


def _of_threads(plan: Plan, backend: Backend) -> _Finding:
    problem = problems.large()
    params = Params(np.full((1, problem.n_features), 0.1), np.array([0.2]))
    rule = solvers.UpdateRule("gd", 0.1)
    answers: list[list[Any]] = []
    for n_threads in (1, 2):
        kernels = backend.compile(problem, Objective(), plan.arithmetic, n_threads)
        loss, gradient = kernels.loss_gradient(params)
        state, records = kernels.run(rule, initial_state(params), 3, None)
        answers.append([loss, *gradient, *state[:4], records])
    note = "entries that differ between one thread and two"
    case = f"{problem.n_samples:,} rows"
    return _Finding(case, "differing entries, by threads", _differing(*answers), note)
