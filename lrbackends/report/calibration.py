"""The stored cost model as text."""

from __future__ import annotations

from lrbackends import _cost_store
from lrbackends._backend_choice import by_model
from lrbackends._cost_model import MANY, CostModel, Work, work_of
from lrbackends._units import seconds
from lrbackends.report.tables import WIDTH, table, to_text


def _example(n: int, p: int, K: int, solver: str, steps: int, sparse: bool = False) -> Work:
    entries = n * p // 20 if sparse else n * p
    return work_of((n, p), K, entries, "float64", sparse, solver, steps)


# What the text shows predictions for.
EXAMPLES = {
    "gd, 1,000 epochs, 360 x 64": _example(360, 64, 1, "gd", 1000),
    "gd, 1,000 epochs, 20,000 x 50": _example(20_000, 50, 1, "gd", 1000),
    "optimum, 569 x 30": _example(569, 30, 1, "auto", 1000),
    "optimum, 100,000 x 100": _example(100_000, 100, 1, "auto", 1000),
    "optimum, 20,000 x 1,000, sparse": _example(20_000, 1000, 1, "auto", 1000, True),
    "optimum, 1,797 x 64, 10 classes": _example(1797, 64, 10, "auto", 1000),
    "500 fits of 569 x 30": _example(569, 30, 1, MANY, 500),
}


def as_text(stored: _cost_store.Stored, width: int = WIDTH) -> str:
    """Return what is stored, for which machine, and what it predicts.

    Parameters
    ----------
    stored : Stored
        See `_cost_store.load`.
    width : int, default 80
    """
    parts = [_whose(stored)] if stored.document else []
    model = stored.model
    if model is None:
        missing = f"{stored.reason}; `{_cost_store.COMMAND}` measures it"
        return to_text(*parts, missing, width=width)
    started = table(
        ("backend", "import", "first use", "a kind of work", "a shape", "kinds"),
        [
            (name, seconds(engine.imported), seconds(engine.wake), *_typical(model, name))
            for name, engine in model.engines.items()
        ],
        title="To get going, once in a process",
    )
    predicted = table(
        ("one fit, then", *model.engines, "auto, at first", "later"),
        [(what, *_predictions(model, work)) for what, work in EXAMPLES.items()],
        title="Predicted seconds of a fit that has nothing left to load or to compile",
    )
    failures = [f"Not measured: {each}" for each in stored.document.get("failures", ())]
    return to_text(*parts, started, predicted, *failures, width=width)


def _whose(stored: _cost_store.Stored) -> str:
    document = stored.document
    machine = document.get("machine", {})
    versions = ", ".join(f"{k} {v}" for k, v in machine.get("versions", {}).items())
    return (
        f"Calibrated {document.get('made', 'at an unknown time')} for {machine.get('cpu')}, "
        f"{machine.get('cores')} cores; {versions}. In {_cost_store.path()}."
    )


def _typical(model: CostModel, name: str) -> tuple[str, str, str]:
    costs = sorted(model.engines[name].costs.values(), key=lambda cost: cost.load + cost.compile)
    if not costs:
        return "-", "-", "0"
    middle = costs[len(costs) // 2]
    return seconds(middle.load), seconds(middle.compile), str(len(costs))


def _predictions(model: CostModel, work: Work) -> list[str]:
    warm = {
        name: engine.costs[work.kind].warm(work)
        for name, engine in model.engines.items()
        if work.kind in engine.costs
    }
    shown = [seconds(warm[name]) if name in warm else "-" for name in model.engines]
    first = by_model(model, [work])
    return [*shown, first.backend if first else "-", min(warm, key=warm.__getitem__, default="-")]
