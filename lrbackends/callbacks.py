"""What can look on while a model trains: anything callable with a `TrainingProgress`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lrbackends._validation import check_number
from lrbackends.objective import Params


@dataclass(frozen=True)
class TrainingProgress:
    """Where training stands.

    Attributes
    ----------
    epoch, n_epochs : int
        Epochs done and epochs asked for.
    history : mapping of str to sequence of float
        What was recorded for each epoch done so far; see `TrainingResult.history`.
    params : Params
        The parameters after that many epochs.
    done : bool
        True in the last call.
    """

    epoch: int
    n_epochs: int
    history: Mapping[str, Sequence[float]]
    params: Params
    done: bool = False


class Callback(Protocol):
    """Called between chunks of native steps, at most about 50 ms apart where a step is shorter.

    One that has an attribute ``every_epoch`` that is true is called after every epoch.
    """

    def __call__(self, progress: TrainingProgress, /) -> bool | None:
        """Look at ``progress``; return True to stop training."""


class PrintLoss:
    """Print the training loss (and validation loss and accuracy) of every so many epochs.

    Parameters
    ----------
    every : int, default 100
        Epochs between two lines.
    """

    def __init__(self, every: int = 100) -> None:
        self.every = int(check_number("every", every, low=1, integer=True))
        self._next = self.every

    def __call__(self, progress: TrainingProgress, /) -> None:
        """Print the lines that are due."""
        while self._next <= len(progress.history["loss"]):
            parts = [
                f"{name.replace('_', ' ')} {values[self._next - 1]:.6f}"
                for name, values in progress.history.items()
                if len(values) >= self._next
            ]
            print(f"epoch {self._next}: " + ", ".join(parts))
            self._next += self.every
        if progress.done:
            self._next = self.every


class ProgressBar:
    """A progress bar with the current loss, on standard error."""

    def __init__(self, description: str = "training") -> None:
        self.description = description
        self._bar: Progress | None = None

    def __call__(self, progress: TrainingProgress, /) -> None:
        """Move the bar."""
        if self._bar is None:
            from rich.console import Console

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("loss {task.fields[loss]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(self.description, total=progress.n_epochs, loss="")
            self._bar.start()
        losses = progress.history["loss"]
        self._bar.update(
            self._task, completed=progress.epoch, loss=f"{losses[-1]:.6f}" if losses else ""
        )
        if progress.done:
            self._bar.stop()
            self._bar = None
