"""`verify`: run the checks on backends and collect the evidence."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata

import numpy as np

from lrbackends._validation import check_choice, check_number
from lrbackends.backends.protocol import ARITHMETICS, Backend, require
from lrbackends.backends.registry import Unavailable, available_backends, get_backend
from lrbackends.equivalence import (
    elementary,
    environments,
    gradient,
    hessian,
    optimum,
    problems,
    purity,
    trajectory,
)
from lrbackends.equivalence.evidence import EquivalenceReport, Evidence
from lrbackends.equivalence.plan import Check, Plan
from lrbackends.equivalence.reference import describe
from lrbackends.errors import LrbackendsWarning
from lrbackends.objective import Objective

_CHECKS: dict[str, Check] = {
    check.NAME: check.jobs for check in (gradient, hessian, elementary, purity, trajectory, optimum)
}
CHECKS = tuple(_CHECKS)
# The fast arithmetic promises no bits from one environment to another.
_CHECKS_OF = {"fast": _CHECKS, "reproducible": {**_CHECKS, environments.NAME: environments.jobs}}
_PACKAGES = ("lrbackends", "numpy", "scipy", "scikit-learn", "numba", "jax", "jaxlib")


def verify(
    backends: str | Backend | Iterable[str | Backend] | None = None,
    *,
    arithmetic: str = "fast",
    steps: int = 10_000,
    checks: Iterable[str] | None = None,
    progress: Callable[[int, int, str], object] | None = None,
) -> EquivalenceReport:
    """Return the evidence that backends compute the same, and the right, numbers.

    Parameters
    ----------
    backends : names or Backend objects, optional
        Default: every backend that is available here.
    arithmetic : {"fast", "reproducible"}, default "fast"
        The contract that is verified.
    steps : int, default 10,000
        Full-batch steps of gradient descent in the check "trajectory"; its other runs do a tenth.
    checks : names, optional
        "gradient", "hessian", "elementary", "purity", "trajectory", "optimum" (these are `CHECKS`)
        and, of the reproducible arithmetic, "environment". Default: all.
    progress : callable, optional
        Called with (jobs done, jobs in all, what comes next), at the end with "".

    Returns
    -------
    EquivalenceReport
        ``.passed`` tells whether every figure is within its limit.

    Raises
    ------
    ValueError
        A name or an option is unknown.
    BackendUnavailableError
        A backend that was asked for by name is not available; the message says why.
    UnsupportedError
        A backend does not cover the arithmetic.

    Examples
    --------
    >>> import lrbackends as lrb
    >>> lrb.verify("numpy", checks=["elementary"]).passed
    True
    """
    check_choice("arithmetic", arithmetic, ARITHMETICS)
    steps = int(check_number("steps", steps, low=1, integer=True))
    chosen = _chosen_checks(checks, arithmetic)
    found = available_backends() if backends is None else {}
    asked = tuple(name for name, state in found.items() if state) if backends is None else backends
    plan = Plan(_backends(asked), arithmetic, steps)
    for backend in plan.backends:
        require(backend, problems.small(), Objective(), arithmetic)

    began = time.perf_counter()
    work = [job for check in chosen.values() for job in check(plan)]
    rows: list[Evidence] = []
    # A wrong backend may produce anything; its figures tell, warnings on the way do not.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", LrbackendsWarning)
        for done, job in enumerate(work):
            if progress is not None:
                progress(done, len(work), job.label)
            rows.extend(job.measure())
    if progress is not None:
        progress(len(work), len(work), "")
    return EquivalenceReport(
        tuple(rows),
        {
            "arithmetic": arithmetic,
            "steps": steps,
            "checks": list(chosen),
            "backends": [backend.name for backend in plan.backends],
            "skipped": {n: s.reason for n, s in found.items() if isinstance(s, Unavailable)},
            "reference": describe(),
            "versions": _versions(),
            "environments": environments.facts() if environments.NAME in chosen else {},
            "seconds": time.perf_counter() - began,
        },
    )


def _backends(asked: str | Backend | Iterable[str | Backend]) -> tuple[Backend, ...]:
    several = [asked] if isinstance(asked, (str, Backend)) else list(asked)
    if not several:
        raise ValueError("backends is empty; name at least one backend, or leave it out for all")
    chosen = tuple(get_backend(backend) for backend in several)
    names = [backend.name for backend in chosen]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"backends has {min(twice)!r} twice; name each one once")
    return chosen


def _chosen_checks(checks: Iterable[str] | None, arithmetic: str) -> Mapping[str, Check]:
    known = _CHECKS_OF[arithmetic]
    if checks is None:
        return known
    wanted = [checks] if isinstance(checks, str) else list(checks)
    if not wanted:
        raise ValueError(f"checks is empty; choose from {', '.join(known)}")
    for name in wanted:
        if name == environments.NAME and name not in known:
            raise ValueError(
                f"checks={name!r} needs arithmetic='reproducible': the fast arithmetic promises no "
                "bits from one environment to another"
            )
        check_choice("checks", name, tuple(known))
    return {name: check for name, check in known.items() if name in wanted}


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
