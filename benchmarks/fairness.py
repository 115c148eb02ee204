"""Is the comparison fair? ``python -m benchmarks.fairness [RUNS] [BACKEND …]``

Compares each backend with a copy of itself under another name, which has to be called a tie, and
with a copy whose steps take 10 % longer, which has to be called slower. A run is one `compare` of
the two, with its default rounds, on digits01; equal and slowed copies take turns.
"""

from __future__ import annotations

import sys
from collections import Counter

import lrbackends as lrb
from benchmarks.copies import Copy, Slowed

WANTED = {Copy: "tie", Slowed: "slower"}


def verdict(backend: str, copy: Copy, run: int) -> tuple[str, str]:
    """Return what one comparison says of the copy's warm fit, and the figures."""
    found = lrb.compare(backends=[backend, copy], vary=(), random_state=run)
    over = found[copy.name].over(found[backend])
    return over.verdict, f"{over.median:.3f} ({over.low:.3f}–{over.high:.3f})"


def main() -> None:
    """Print each run's figures, and how often the verdict was right."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    for backend in sys.argv[2:] or ["numpy", "numba", "jax"]:
        said: dict[type[Copy], Counter[str]] = {kind: Counter() for kind in WANTED}
        for run in range(runs):
            for kind, counts in said.items():
                what, figures = verdict(backend, kind(backend), run)
                counts[what] += 1
                print(f"{backend} {kind.__name__.lower()} {run}: {what}, {figures}", flush=True)
        for kind, counts in said.items():
            right = counts[WANTED[kind]]
            print(f"{backend}, {kind.__name__.lower()}: {right} of {runs} are {WANTED[kind]!r}")


if __name__ == "__main__":
    main()
