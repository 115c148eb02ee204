"""Comparisons to show: a measured one from a file, and what else may happen, made of it."""

import dataclasses
from functools import cache
from pathlib import Path

from lrbackends.benchmarking.comparison import Comparison
from lrbackends.benchmarking.rows import Measured, Row

STORED = Path(__file__).parent / "data" / "comparison.json"
REASON = "the process was killed by <b>SIGKILL</b> & left no answer"
KINDS = ("cost", "sizes", "loss", "agreement", "reproducible", "passes")


@cache
def whole() -> Comparison:
    """All variations, three backends and scikit-learn."""
    return Comparison.from_json(STORED.read_text(encoding="utf-8"))


def base() -> Comparison:
    """The base task alone."""
    c = whole()
    return dataclasses.replace(c, rows=c.base, agreements=c.agreements[:1])


def alone() -> Comparison:
    """One backend, measured in one process, the base task alone."""
    row = whole().measured[0]
    one = {
        f.name: dataclasses.replace(value, samples=value.samples[:1])
        for f in dataclasses.fields(row)
        if hasattr(value := getattr(row, f.name), "samples")
    }
    found = whole().agreements[0]
    distances = tuple(d for d in found.distances if (d.a, d.b) == (row.backend, "reference"))
    return dataclasses.replace(
        whole(),
        rows=(dataclasses.replace(row, rounds=(0,), **one),),
        agreements=(dataclasses.replace(found, distances=distances),),
        rounds=1,
    )


def apart() -> Comparison:
    """NumPy and Numba are 12 ULP apart in the base task; one of another task gave a label less."""
    c = whole()

    def moved(agreement, **to):
        first, *rest = agreement.distances
        return dataclasses.replace(agreement, distances=(dataclasses.replace(first, **to), *rest))

    first, second, *rest = c.agreements
    changed = (moved(first, median_ulp=12.0, relative=3e-14), moved(second, labels=2), *rest)
    return dataclasses.replace(c, agreements=changed)


def broken() -> Comparison:
    """JAX failed everywhere, Numba diverged in the base task."""
    c = whole()
    rows = []
    for row in c.rows:
        if row.backend == "jax":
            row = Row(row.cell, "failed", REASON, row.engine)
        elif row in c.base and row.backend == "numba":
            row = dataclasses.replace(row, status="diverged", reason="the loss is infinite")
        rows.append(row)
    gone = {"jax"}
    agreements = tuple(
        dataclasses.replace(
            a, distances=tuple(d for d in a.distances if not {d.a, d.b} & (gone | {"numba"}))
        )
        for a in c.agreements
    )
    return dataclasses.replace(c, rows=tuple(rows), agreements=agreements)


def nothing() -> Comparison:
    """Nobody trained."""
    c = whole()
    rows = tuple(Row(row.cell, "unavailable", "it is not installed", "") for row in c.base)
    return dataclasses.replace(c, rows=rows, agreements=())


def worse() -> Comparison:
    """Numba's objective is higher than the others'."""
    c = whole()
    rows = tuple(
        dataclasses.replace(row, loss=1.1 * row.loss)
        if isinstance(row, Measured) and row in c.base and row.backend == "numba"
        else row
        for row in c.rows
    )
    return dataclasses.replace(c, rows=rows)


COMPARISONS = {made.__name__: made for made in (whole, base, alone, apart, broken, nothing, worse)}
