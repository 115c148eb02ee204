"""The command line. Engines and libraries are imported inside the commands, so help comes at once.

Exit codes: 0 fine; 1 the check failed; 2 the call or the data were wrong, said in one line on
standard error; 130 interrupted; 141 nobody reads the output any more.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrbackends.errors import BackendUnavailableError, DivergenceError, LrbackendsWarning

if TYPE_CHECKING:
    from lrbackends.callbacks import TrainingProgress
    from lrbackends.datasets import Dataset
    from lrbackends.result import TrainingResult
    from lrbackends.trainer import Trainer

# What bad input raises; anything else is a bug and keeps its traceback.
_WRONG = (
    BackendUnavailableError,
    DivergenceError,
    MemoryError,
    OSError,
    TypeError,
    ValueError,
)
_CURVE_POINTS = 200


# -- how every command ends


def _say(kind: str, message: object) -> None:
    click.echo(f"lrbackends: {kind}: {' '.join(str(message).split())}", err=True)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print each different warning once, in one line."""
    seen: set[str] = set()

    def show(message: Warning | str, *_: object) -> None:
        if str(message) not in seen:
            seen.add(str(message))
            _say("warning", message)

    with warnings.catch_warnings():
        warnings.simplefilter("always", LrbackendsWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


class _Cli(click.Group):
    """A group of commands that return their exit code and fail in one line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # a narrow encoding must not stop a table
                stream.reconfigure(errors="backslashreplace")
        try:
            code = super().main(*args, **(kwargs | {"standalone_mode": False}))
        except click.ClickException as error:
            _say("error", error.format_message())
            code = 2
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _warnings_as_lines():
                code = super().invoke(ctx)
                sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            _say("error", "interrupted")
            ctx.exit(130)
        except BrokenPipeError:
            # What is left in the buffer must not fail again when Python exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(141)
        except _WRONG as error:
            _say("error", _reason(error))
            ctx.exit(2)


# -- options


class _Labels(click.ParamType[Any]):
    """Two labels, "A,B"; whole numbers are numbers."""

    name = "A,B"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[Any, ...]:
        labels = value if isinstance(value, tuple) else tuple(map(str.strip, value.split(",")))
        if len(labels) != 2 or "" in labels:
            self.fail(f"{value!r} is not two labels like 0,1", param, ctx)
        return tuple(
            int(x) if isinstance(x, str) and x.lstrip("-").isdecimal() else x for x in labels
        )


def _names(_ctx: click.Context, _param: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else [name.strip() for name in value.split(",")]


def _shape(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    parts = value.lower().split("x")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise click.BadParameter(f"{value!r} is not a shape like 20000x50")
    return int(parts[0]), int(parts[1])


def _counts(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise click.BadParameter(f"{value!r} are not whole numbers like 1000,10000")
    return tuple(map(int, parts))


def _writable(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Path | None:
    """Refuse a file that cannot be written before any work is done."""
    if value is None:
        return None
    path = Path(value)
    if path.is_dir():
        raise click.BadParameter(f"{value!r} is a directory; name a file")
    if not path.parent.is_dir():
        raise click.BadParameter(f"there is no directory {str(path.parent)!r}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise click.BadParameter(f"{value!r} is not writable")
    return path


def _file(name: str, text: str) -> Callable[[Any], Any]:
    return click.option(name, metavar="FILE", callback=_writable, help=text)


def _all(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Put several options on a command, in this order."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_digits = click.option(
    "--digits", "--classes", "digits", type=_Labels(), help="Keep the rows of these two labels."
)
_data = _all(
    click.argument("data", default="digits01"),
    click.option("--target", metavar="COLUMN", help="Column of the labels, by name or index."),
    _digits,
    click.option(
        "--test-size",
        type=float,
        default=0.25,
        help="Share of rows set aside where the data have no test part; 0 for none.",
    ),
    click.option(
        "--standardise/--as-is",
        default=False,
        help="Scale columns to mean 0 and deviation 1 on the training rows.",
    ),
)
_DATA = ("data", "target", "digits", "test_size", "standardise")
_backends = click.option(
    "--backends", metavar="A,B,…", callback=_names, help="Default: all that are available."
)
_json = _file("--json", "Write the findings as JSON.")
_quiet = click.option("--quiet", is_flag=True, help="Print warnings and errors only.")

# Named as the fields of `Trainer`, with its defaults (a test compares them).
_training = _all(
    click.option("--backend", default="numba", help="See the command `backends`."),
    click.option(
        "--solver",
        default="gd",
        help="gd, momentum, nesterov or adam; or to the optimum: lbfgs, newton, newton-cg, "
        "sampled-newton, with --l1 proximal-newton, or auto, which chooses one of these.",
    ),
    click.option(
        "--epochs", type=int, default=1000, help="Passes over the rows; steps to the optimum."
    ),
    click.option("--learning-rate", type=float, show_default="1/L, safe for the data; adam 0.001"),
    click.option("--l2", type=float, default=0.0, help="Squared penalty: adds l2/2 |w|^2."),
    click.option("--l1", type=float, default=0.0, help="Absolute penalty: adds l1 |w|."),
    click.option(
        "--schedule",
        default="constant",
        help="How the learning rate falls: constant, invscaling or optimal.",
    ),
    click.option("--batch-size", type=int, show_default="all rows"),
    click.option("--replacement/--shuffle", default=False, help="How mini-batches are drawn."),
    click.option(
        "--patience",
        type=int,
        help="Stop after so many epochs without a better loss; keep the best.",
    ),
    click.option(
        "--min-delta", type=float, default=0.0, help="What counts as better, for patience."
    ),
    click.option("--tol", type=float, default=0.0, help="Stop at a gradient this small; 0: never."),
    click.option(
        "--gap",
        type=float,
        help="Stop when the loss is certified to be that close to its minimum, relatively.",
    ),
    click.option(
        "--validation-fraction",
        type=float,
        help="Share of the training rows set aside; patience then looks at their loss.",
    ),
    click.option("--dtype", show_default="that of the data", help="float64 or float32."),
    click.option("--init", default="zeros", help="Start: zeros or normal (random)."),
    click.option("--init-scale", type=float, default=0.01, help="Deviation of a normal start."),
    click.option("--intercept/--no-intercept", "fit_intercept", default=True),
    click.option(
        "--momentum", type=float, default=0.9, help="Decay of the velocity or adam's 1st moment."
    ),
    click.option("--decay2", type=float, default=0.999, help="Decay of adam's 2nd moment."),
    click.option("--epsilon", type=float, default=1e-8, help="In adam's denominator."),
    click.option("--arithmetic", default="fast", help="fast or reproducible."),
    click.option("--threads", "n_threads", type=int, show_default="all"),
    click.option("--seed", "random_state", type=int, show_default="drawn and printed"),
)


@click.group(
    cls=_Cli,
    invoke_without_command=True,
    context_settings={"show_default": True, "help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="lrbackends", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Logistic regression on interchangeable backends, proven equal and compared fairly.

    DATA is digits01 (the default), digits, breast_cancer, or a CSV, Parquet, .npz, LIBSVM or MNIST
    IDX file.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


# -- compare, verify


@main.command(
    epilog="\b\nExamples:"
    "\n  lrbackends compare"
    "\n  lrbackends compare data.csv --target label --html page.html --json numbers.json"
    "\n  lrbackends compare --shape 20000x50 --vary size,threads --journal run.jsonl"
)
@_data
@click.option(
    "--shape",
    metavar="ROWSxFEATURES",
    callback=_shape,
    help="Compare on random data of that shape instead of DATA.",
)
@_backends
@click.option("--solver", default="gd", help="gd, momentum, nesterov, adam, lbfgs, newton, auto, …")
@click.option("--epochs", type=int, default=1000, help="Passes over the rows.")
@click.option("--l2", type=float, default=1e-3, help="Squared penalty; above 0 one optimum.")
@click.option("--learning-rate", type=float, show_default="1/L, safe for the data; adam 0.001")
@click.option("--batch-size", type=int, show_default="all rows")
@click.option("--dtype", show_default="that of the data", help="float64 or float32.")
@click.option("--arithmetic", default="fast", help="fast or reproducible.")
@click.option(
    "--vary",
    metavar="A,B,…",
    callback=_names,
    show_default="all",
    help="What to vary besides: size, arithmetic, dtype, threads, cache, optimum; or none.",
)
@click.option("--sizes", metavar="N,N,…", callback=_counts, help="Rows of the variation size.")
@click.option("--rounds", type=int, default=5, help="Fresh processes per backend.")
@click.option("--seed", "random_state", type=int, default=0)
@_file("--journal", "Keep each measurement there; with the file of a stopped run, go on from it.")
@_file("--html", "Write one self-contained page.")
@_json
@_file("--markdown", "Write the tables as Markdown.")
@_file("--picture", "Draw the costs as PNG, SVG or PDF, by the file's ending.")
def compare(
    shape: tuple[int, int] | None,
    html: Path | None,
    json: Path | None,
    markdown: Path | None,
    picture: Path | None,
    vary: list[str] | None,
    **options: Any,
) -> int:
    """Train one model with each backend; compare costs and results.

    The table of the task that was asked for comes first, then what else was measured: other sizes,
    arithmetics, types, threads, caches, the optimum. Exit code 1 where backends disagree or fail.
    """
    from lrbackends.benchmarking.compare import compare as run
    from lrbackends.report import comparison as report

    data = _taken(options, _DATA)
    if shape is None:
        dataset, _ = _dataset(**data)
        options |= {"X": dataset.X_train, "y": dataset.y_train, "name": dataset.name}
        if len(dataset.y_test):
            options |= {"X_test": dataset.X_test, "y_test": dataset.y_test}
    with _counter("processes") as progress:
        comparison = run(
            shape=shape,
            vary=() if vary == ["none"] else vary,
            progress=progress,
            first=lambda found: click.echo(report.base_text(found)),
            **options,
        )
    click.echo(report.further_text(comparison), nl=False)
    if html is not None:
        comparison.to_html(html)
    if json is not None:
        comparison.to_json(json)
    if markdown is not None:
        markdown.write_text(report.as_markdown(comparison), encoding="utf-8")
    if picture is not None:
        comparison.plot("cost").savefig(picture)
    broken = any(row.status in ("failed", "diverged") for row in comparison.rows)
    return int(broken or not comparison.trained or bool(comparison.disagreements()))


@main.command()
@_backends
@click.option("--arithmetic", default="fast", help="fast or reproducible.")
@click.option("--steps", type=int, default=10_000, help="Steps of the longest trajectories.")
@click.option("--checks", metavar="A,B,…", callback=_names, help="Default: all.")
@_json
def verify(json: Path | None, **options: Any) -> int:
    """Check that the backends compute the same; exit code 1 if not."""
    from lrbackends.equivalence import verify as run
    from lrbackends.report.equivalence import as_text
    from lrbackends.report.tables import WIDTH

    with _counter("checks") as progress:
        report = run(**options, progress=progress)
    click.echo(as_text(report, width=WIDTH), nl=False)
    if json is not None:
        report.to_json(json)
    return int(not report.passed)


@contextmanager
def _counter(what: str) -> Iterator[Callable[[int, int, str], None] | None]:
    """Give a callback that shows progress on standard error, None unless it is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        *(TextColumn(what), BarColumn(), MofNCompleteColumn()),
        *(TimeRemainingColumn(), TextColumn("{task.description}")),
    )
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # what is piped on is not for the terminal
    ) as bar:
        task = bar.add_task("", total=None)

        def show(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name)

        yield show


def _taken(options: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Take the options of these names out of all options."""
    return {name: options.pop(name) for name in names}


# -- train, predict


@main.command(
    epilog="\b\nExamples:"
    "\n  lrbackends train"
    "\n  lrbackends train flowers.csv --target kind --classes rose,lily --save m.json"
    "\n  lrbackends train train-images-idx3-ubyte.gz --digits 0,1 --plots pictures"
)
@_data
@_training
@click.option("--print-every", metavar="N", type=int, help="Print the loss every N epochs.")
@click.option(
    "--plots",
    metavar="DIR",
    help="Write pictures (PNG) of the curves, the weights and predictions. The curves show the "
    "validation rows; without --validation-fraction and --patience the test rows.",
)
@_file("--save", "Write the model, for `predict`.")
@_quiet
def train(
    print_every: int | None, plots: str | None, save: Path | None, quiet: bool, **options: Any
) -> None:
    """Train a model and say how good it is."""
    from lrbackends import callbacks
    from lrbackends._validation import check_number
    from lrbackends.model_file import save_model
    from lrbackends.trainer import Trainer

    watching: list[Any] = []
    if print_every is not None:
        check_number("print-every", print_every, low=1, integer=True)
        watching.append(callbacks.PrintLoss(print_every))
    if sys.stderr.isatty() and not quiet:
        watching.append(callbacks.ProgressBar())
    data = _taken(options, _DATA)
    trainer = Trainer(**options, callbacks=watching)
    dataset, scaling = _dataset(**data)
    curve = _AccuracyCurve(dataset, trainer.epochs)
    held_out = None
    if plots is not None:
        Path(plots).mkdir(parents=True, exist_ok=True)
        watching.append(curve)
        # Rows only looked at: without patience they cannot influence the model.
        if trainer.patience is None and trainer.validation_fraction is None:
            held_out = (dataset.X_test, dataset.y_test) if len(dataset.y_test) else None
    if not quiet:
        _print(_summary(dataset))
    result = trainer.fit(dataset.X_train, dataset.y_train, validation_data=held_out)
    if not quiet:
        _print(*_outcome(dataset, trainer, result))
    if save is not None:
        save_model(
            result,
            save,
            feature_names=dataset.feature_names,
            target=dataset.target,
            scaling=scaling,
        )
    if plots is not None:
        from lrbackends.report.plots import save_plots

        paths = save_plots(
            plots,
            dataset,
            result,
            training_accuracy=curve.accuracy,
            held_out="validation" if held_out is None else "test",
            random_state=result.random_state,
        )
        if not quiet:
            click.echo(f"{len(paths)} pictures in {plots}")
    if save is not None and not quiet:
        click.echo(f"model in {save}")


@main.command()
@click.argument("model")
@click.argument("data")
@_digits
@click.option("--threshold", type=float, default=0.5, help="Probability that decides.")
@_file("--output", "Write the predictions there instead of to standard output.")
def predict(
    model: str, data: str, digits: tuple[Any, Any] | None, threshold: float, output: Path | None
) -> None:
    """Predict the rows of DATA with a saved MODEL, as CSV; of a bundled set its test rows.

    Where the labels are known, the accuracy is printed on standard error.
    """
    import numpy as np
    import pandas as pd

    from lrbackends.datasets import load_rows
    from lrbackends.model_file import load_model

    saved = load_model(model)
    names = saved.feature_names or tuple(f"x{j}" for j in range(saved.coef.shape[1]))
    rows = load_rows(data, names, target=saved.target, digits=digits)
    predicted = saved.predict(rows.X, threshold)
    frame = pd.DataFrame({"prediction": predicted})
    for label, column in zip(saved.classes.tolist(), saved.predict_proba(rows.X).T, strict=True):
        frame[f"probability of {label}"] = column
    frame.to_csv(sys.stdout if output is None else output, index=False)
    if rows.y is None:
        return
    known = np.isin(rows.y, saved.classes)
    if known.any():
        right, n = int((predicted == rows.y).sum()), int(known.sum())
        click.echo(f"accuracy {right / n:.4f} ({right:,} of {n:,} rows)", err=True)
    if not known.all():
        _say(
            "warning",
            f"{(~known).sum():,} rows have labels that the model does not know and do not count "
            "in the accuracy; --digits leaves them out",
        )


def _dataset(
    data: str, target: str | None, digits: Any, test_size: float, standardise: bool
) -> tuple[Dataset, tuple[Any, Any] | None]:
    """Return the data that the options ask for and how they were scaled, if they were."""
    from lrbackends.datasets import load_dataset, standardised

    dataset = load_dataset(data, target=target, digits=digits, test_size=test_size)
    if not standardise:
        return dataset, None
    dataset, mean, scale = standardised(dataset)
    return dataset, (mean, scale)


class _AccuracyCurve:
    """Records the accuracy on the training rows, at most a few hundred times."""

    def __init__(self, dataset: Dataset, epochs: int) -> None:
        import numpy as np

        self._dataset = dataset
        self._every = max(1, epochs // _CURVE_POINTS)
        self._codes = np.unique(dataset.y_train, return_inverse=True)[1]
        self.accuracy: dict[int, float] = {}

    def __call__(self, progress: TrainingProgress, /) -> None:
        import numpy as np

        from lrbackends.objective import predicted, scores

        if progress.epoch % self._every == 0 or progress.done:
            found = predicted(scores(self._dataset.X_train, progress.params))
            self.accuracy[progress.epoch] = float(np.mean(found == self._codes))


def _print(*parts: Any) -> None:
    from lrbackends.report.tables import to_text

    click.echo(to_text(*parts), nl=False)


def _summary(dataset: Dataset) -> str:
    import numpy as np

    classes, counts = np.unique(dataset.y_train, return_counts=True)
    shares = ", ".join(f"{n:,} of class {c}" for c, n in zip(classes, counts, strict=True))
    shape = ""
    if dataset.image_shape is not None:
        shape = " ({} x {} pixels)".format(*dataset.image_shape)
    return (
        f"{dataset.name}: {dataset.description}. {len(dataset.y_train):,} training rows "
        f"({shares}), {len(dataset.y_test):,} test rows, {dataset.X_train.shape[1]:,} "
        f"features{shape}."
    )


def _outcome(dataset: Dataset, trainer: Trainer, result: TrainingResult) -> list[Any]:
    import numpy as np

    from lrbackends._units import seconds
    from lrbackends.report.tables import table
    from lrbackends.solvers import FIRST_ORDER
    from lrbackends.trainer import Trainer

    # No epochs give the start; NumPy has nothing to compile for it.
    same = ("fit_intercept", "init", "init_scale", "dtype")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = Trainer(
            "numpy",
            epochs=0,
            l2=1.0,
            learning_rate=1.0,
            random_state=result.random_state,
            **{name: getattr(trainer, name) for name in same},
        ).fit(dataset.X_train, dataset.y_train)
    rows: list[tuple[str, ...]] = [("loss", f"{result.initial_loss:.10g}", f"{result.loss:.10g}")]
    for part, X, y in (
        ("training", dataset.X_train, dataset.y_train),
        ("test", dataset.X_test, dataset.y_test),
    ):
        if len(y):
            shares = (f"{np.mean(model.predict(X) == y):.4f}" for model in (start, result))
            rows.append((f"{part} accuracy", *shares))
    timings = ", ".join(
        f"{name} {seconds(value)}" for name, value in result.timings.items() if name != "total"
    )
    how = "full batch"
    if trainer.batch_size is not None and result.n_steps > result.n_epochs:
        how = f"batches of {trainer.batch_size}"
    if np.isfinite(result.learning_rate):
        how += f", learning rate {result.learning_rate:.6g}"
    # The warning has said how the classes are separated.
    reason = "see the warning" if result.status == "separated" else result.reason
    best = f"; best after {result.best_epoch:,}" if trainer.patience is not None else ""
    unit = "epochs" if trainer.solver in FIRST_ORDER else "steps"
    return [
        table(("", "before", "after"), rows),
        f"{result.status.replace('_', ' ')} after {result.n_epochs:,} {unit}: {reason}{best}",
        f"{result.solver} on {result.backend}, {how}, {result.n_passes:,.4g} passes, "
        f"{result.dtype}, seed {result.random_state}",
        f"time: {timings}; {seconds(result.timings['total'])} in all",
    ]


# -- backends


@main.command()
def backends() -> None:
    """Show which backends are here, what they cover, and why others are not here."""
    from lrbackends.backends.registry import Available, available_backends, get_backend
    from lrbackends.report.tables import table

    rows, reasons = [], []
    for name, found in available_backends().items():
        if isinstance(found, Available):
            try:
                can = get_backend(name).capabilities()
            except BackendUnavailableError as error:
                reasons.append(str(error))
                continue
            extras = ("reproducible", "sparse", "narrow", "hessian", "multinomial", "l1")
            rows.append(
                (
                    name,
                    found.engine,
                    found.source,
                    ", ".join(can.dtypes),
                    "yes" if can.threads else "no",
                    ", ".join(extra for extra in extras if getattr(can, extra)) or "-",
                )
            )
        else:
            reasons.append(f"{name} is not available: {found.reason}")
    columns = ("backend", "engine", "from", "types", "threads", "more")
    _print(table(columns, rows, left=columns, whole=columns[:-1]), *reasons)
