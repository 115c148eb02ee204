"""scikit-learn's callbacks (1.9, experimental): the same events from every backend.

A fit is a task, and each of its epochs (or steps, of a solver that seeks the optimum) a subtask. As
in scikit-learn's own estimator a last, empty subtask is begun and ended, for nobody knows in
advance where training stops.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrbackends.callbacks import TrainingProgress
from lrbackends.errors import UnsupportedError

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
except ImportError:  # before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Says what is missing where callbacks are given."""

        def set_callbacks(self, *callbacks: Any) -> Any:
            """Refuse scikit-learn's callbacks."""
            import sklearn

            if callbacks:
                raise UnsupportedError(
                    f"set_callbacks needs scikit-learn 1.9 or newer, this is {sklearn.__version__};"
                    " give callables of lrbackends.callbacks as callbacks=[...]"
                )
            return self


class EpochEvents:
    """Tells scikit-learn's callbacks of each epoch; a callback of `Trainer`.

    Parameters
    ----------
    estimator : LogisticRegression
    max_iter : int
        Epochs at most.
    data : mapping of str to value
        ``X``, ``y`` and ``metadata`` as callbacks get them.
    fitted : mapping of str to value
        What an estimator needs to predict, besides ``coef_`` and ``intercept_``.
    """

    every_epoch = True  # not every chunk: how long those are depends on the backend's speed

    def __init__(
        self, estimator: Any, max_iter: int, data: Mapping[str, Any], fitted: Mapping[str, Any]
    ) -> None:
        self.estimator, self.data, self.fitted = estimator, data, fitted
        self.fit_task = estimator._init_callback_context(max_subtasks=max_iter + 1)
        self.fit_task.call_on_fit_task_begin(estimator=estimator, **data)
        self.epoch = 0
        self._begin()

    def _begin(self, **attributes: Any) -> None:
        self.task = self.fit_task.subcontext(task_name="epoch")
        self.task.call_on_fit_task_begin(estimator=self.estimator, **self.data, **attributes)

    def __call__(self, progress: TrainingProgress, /) -> bool:
        """End the subtasks of the epochs done; return whether a callback asks to stop."""
        stop = False
        while self.epoch < progress.epoch:
            self.epoch += 1
            attributes = {}
            if self.epoch == progress.epoch:  # of those before it the parameters are not known
                attributes["reconstruction_attributes"] = {
                    **self.fitted,
                    "coef_": progress.params.coef,
                    "intercept_": progress.params.intercept,
                }
            stop |= self.task.call_on_fit_task_end(
                estimator=self.estimator, **self.data, **attributes
            )
            self._begin(**attributes)
        if progress.done:
            self.task.call_on_fit_task_end(estimator=self.estimator)
        return stop

    def end(self) -> None:
        """End the task of the fit, whose estimator is fitted by now."""
        self.fit_task.call_on_fit_task_end(
            estimator=self.estimator, **self.data, reconstruction_attributes={}
        )
