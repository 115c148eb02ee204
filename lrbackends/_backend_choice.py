"""The backend that ``backend="auto"`` stands for, and why."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lrbackends import _cost_store
from lrbackends._cost_model import BATCHES, MANY, RULE, CostModel, Predicted, Work
from lrbackends._units import seconds
from lrbackends.backends.registry import available_backends

_PASSES = 20  # that a solver which seeks the optimum takes over the rows, about
_WORTH_COMPILING = 5e7  # entries read in all, from which on importing and compiling pays back


class Choice(NamedTuple):
    """A backend and why it was chosen.

    Attributes
    ----------
    backend : str
    reason : str
        A sentence for people.
    predicted : mapping of str to Predicted
        Seconds by backend; empty where the choice was made by the rule.
    """

    backend: str
    reason: str
    predicted: Mapping[str, Predicted] = {}


def choose_backend(work: Work | Sequence[Work], uncovered: str = "") -> Choice:
    """Return the backend that ``auto`` stands for: the one whose fit is predicted to end first.

    The prediction is that of the cost model which ``lrbackends calibrate`` measured on this
    machine; see `_cost_model`. Where there is none, or where it does not cover the work, `by_rule`
    decides.

    Parameters
    ----------
    work : Work or sequence of Work
        One after the other.
    uncovered : str, optional
        An option that the model knows nothing about.
    """
    works = [work] if isinstance(work, Work) else list(work)
    stored = _cost_store.load()
    if stored.model is None:
        return by_rule(works, f"{stored.reason}; `{_cost_store.COMMAND}` measures it")
    if uncovered:
        return by_rule(works, f"the calibration does not cover {uncovered}")
    kinds = " and ".join(dict.fromkeys(each.kind for each in works))
    return by_model(stored.model, works) or by_rule(works, f"no backend is calibrated for {kinds}")


def given(backend: object) -> str:
    """Return the reason where nothing was to be chosen."""
    return f"{getattr(backend, 'name', backend)}, as backend= says"


def by_model(model: CostModel, works: Sequence[Work]) -> Choice | None:
    """Return the choice by predicted seconds, None where no backend that is here has any."""
    predicted = model.predict(works)
    ranking = sorted(predicted, key=lambda name: predicted[name].total)
    best = next((name for name in ranking if _is_here(model.engines[name].module)), None)
    if best is None:
        return None
    others = ", ".join(f"{name} {_told(predicted[name])}" for name in ranking if name != best)
    reason = f"{best}, predicted {_told(predicted[best])}" + (f"; {others}" if others else "")
    return Choice(best, reason, predicted)


def _told(time: Predicted) -> str:
    text = seconds(time.total)
    if time.start < 0.005 * time.total:
        return text
    return f"{text} ({seconds(time.start)} of it to import and compile)"


def _is_here(module: str) -> bool:
    """Whether an engine can be imported; without doing so."""
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def by_rule(works: Sequence[Work], why: str) -> Choice:
    """Return the choice without a model: "numpy" or "numba".

    "numba" where at least 5e7 entries of X are read and Numba is there, else "numpy", which has
    nothing to import or to compile. An update rule reads X once an epoch, a solver that seeks the
    optimum about 20 times. The threshold is about where what Numba saves, half a nanosecond to two
    of each entry read, outweighs the tenths of a second that it takes to be imported and to load
    its code.

    Parameters
    ----------
    works : sequence of Work
    why : str
        Why there is no model for it.
    """
    large = sum(map(_entries_read, works)) >= _WORTH_COMPILING
    here = bool(large and available_backends()["numba"])
    name = "numba" if here else "numpy"
    rule = f"{'at least' if large else 'fewer than'} 5e7 entries of X are read"
    missing = ", and numba is not there" if large and not here else ""
    return Choice(name, f"{name}, by the rule that {rule}{missing} ({why})")


def _entries_read(work: Work) -> float:
    passes = work.steps if work.family in (RULE, BATCHES) else _PASSES
    fits = work.steps if work.family == MANY else work.fits
    return float(work.n_entries) * passes * fits
