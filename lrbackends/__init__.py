"""One trainer interface for logistic regression, three interchangeable backends.

Importing this package imports neither numba nor jax; an engine is loaded when its backend is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrbackends import testing as testing
    from lrbackends.backends.registry import available_backends as available_backends
    from lrbackends.backends.registry import get_backend as get_backend
    from lrbackends.benchmarking.compare import compare as compare
    from lrbackends.benchmarking.comparison import Comparison as Comparison
    from lrbackends.datasets import Dataset as Dataset
    from lrbackends.datasets import load_dataset as load_dataset
    from lrbackends.equivalence.evidence import EquivalenceReport as EquivalenceReport
    from lrbackends.equivalence.verification import verify as verify
    from lrbackends.estimator import LogisticRegression as LogisticRegression
    from lrbackends.estimator_cv import LogisticRegressionCV as LogisticRegressionCV
    from lrbackends.many import fit_many as fit_many
    from lrbackends.model_file import load_model as load_model
    from lrbackends.model_file import save_model as save_model
    from lrbackends.objective import Objective as Objective
    from lrbackends.objective import Params as Params
    from lrbackends.path import regularisation_path as regularisation_path
    from lrbackends.problem import Problem as Problem
    from lrbackends.result import TrainingResult as TrainingResult
    from lrbackends.trainer import Trainer as Trainer

__version__ = "0.1.0"

# Public names and the modules that they are loaded from on first use.
_EXPORTS = {
    "Comparison": "lrbackends.benchmarking.comparison",
    "Dataset": "lrbackends.datasets",
    "EquivalenceReport": "lrbackends.equivalence.evidence",
    "LogisticRegression": "lrbackends.estimator",
    "LogisticRegressionCV": "lrbackends.estimator_cv",
    "Objective": "lrbackends.objective",
    "Params": "lrbackends.objective",
    "Problem": "lrbackends.problem",
    "Trainer": "lrbackends.trainer",
    "TrainingResult": "lrbackends.result",
    "available_backends": "lrbackends.backends.registry",
    "compare": "lrbackends.benchmarking.compare",
    "load_dataset": "lrbackends.datasets",
    "load_model": "lrbackends.model_file",
    "save_model": "lrbackends.model_file",
    "fit_many": "lrbackends.many",
    "get_backend": "lrbackends.backends.registry",
    "regularisation_path": "lrbackends.path",
    "testing": "lrbackends.testing",
    "verify": "lrbackends.equivalence.verification",
}

__all__ = [*sorted(_EXPORTS), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_EXPORTS[name])
    value = module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
