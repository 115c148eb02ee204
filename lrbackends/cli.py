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

from lrbackends import _cli_options as opt
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
    "\n  lrbackends compare data.csv --target label --html page.html"
    "\n  lrbackends compare --shape 20000x50 --vary size,threads --journal run.jsonl"
)
@opt.data
@click.option(
    "--shape",
    metavar="ROWSxFEATURES",
    callback=opt.shape,
    help="Compare on random data of that shape instead of DATA.",
)
@opt.backends
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
    callback=opt.names,
    show_default="all",
    help="What to vary besides: size, arithmetic, dtype, threads, cache, optimum; or none.",
)
@click.option("--sizes", metavar="N,N,…", callback=opt.counts, help="Rows of the variation size.")
@click.option("--rounds", type=int, default=6, help="Fresh processes per backend.")
@click.option("--seed", "random_state", type=int, default=0)
@opt.file(
    "--journal", "Keep each measurement there; with the file of a stopped run, go on from it."
)
@opt.file("--html", "Write one self-contained page.")
@opt.json
@opt.file("--markdown", "Write the tables as Markdown.")
@opt.file("--picture", "Draw the costs as PNG, SVG or PDF, by the file's ending.")
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

    data = _taken(options, opt.DATA)
    if shape is not None and data["data"] != "digits01":
        raise click.UsageError("give DATA or --shape, not both")
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
    differ = comparison.disagreements() or comparison.outdone()
    return int(broken or not comparison.trained or bool(differ))


@main.command()
@opt.backends
@click.option("--arithmetic", default="fast", help="fast or reproducible.")
@click.option("--steps", type=int, default=10_000, help="Steps of the longest trajectories.")
@click.option("--checks", metavar="A,B,…", callback=opt.names, help="Default: all.")
@opt.file("--html", "Write a page, complete in itself.")
@opt.json
def verify(html: Path | None, json: Path | None, **options: Any) -> int:
    """Check that the backends compute the same; exit code 1 if not."""
    from lrbackends.equivalence import verify as run
    from lrbackends.report.equivalence import as_text
    from lrbackends.report.tables import WIDTH

    with _counter("checks") as progress:
        report = run(**options, progress=progress)
    click.echo(as_text(report, width=WIDTH), nl=False)
    if html is not None:
        report.to_html(html)
    if json is not None:
        report.to_json(json)
    return int(not report.passed)


@main.command()
@click.argument("benchmark", metavar="BENCHMARK.json")
@click.option("--against", metavar="OLD.json", help="An older run: show what changed since.")
@click.option(
    "--max-slowdown",
    type=opt.Percent(),
    help="Exit code 1 where a benchmark is slower by more than this, its whole 95 % interval "
    "beyond, or gives another answer.",
)
@opt.file("--html", "Write a page, complete in itself.")
@opt.json
@opt.file("--markdown", "Write the tables as Markdown.")
def report(
    benchmark: str,
    against: str | None,
    max_slowdown: float | None,
    html: Path | None,
    json: Path | None,
    markdown: Path | None,
) -> int:
    """Show what `pytest --benchmark-json=BENCHMARK.json` stored, or what changed since OLD.json."""
    from lrbackends.report.benchmark_changes import RunChanges, compare_runs
    from lrbackends.report.benchmarks import BenchmarkReport, read_benchmarks

    if against is None and max_slowdown is not None:
        raise click.UsageError("--max-slowdown needs --against OLD.json")
    run = read_benchmarks(benchmark)
    view: BenchmarkReport | RunChanges = run
    beyond = 0
    if against is not None:
        view = changes = compare_runs(run, read_benchmarks(against))
        if max_slowdown is not None:
            beyond = len(changes.beyond(max_slowdown))
    click.echo(view.to_text(), nl=False)
    for write, path in ((view.to_html, html), (view.to_json, json), (view.to_markdown, markdown)):
        if path is not None:
            write(path)
    return int(beyond > 0)


@main.command()
@click.option("--show", is_flag=True, help="Only print what is stored, and for which machine.")
@opt.backends
@click.option("--seconds", type=float, default=45.0, help="About how long it may take.")
def calibrate(show: bool, backends: list[str] | None, seconds: float) -> int:
    """Measure this machine, so that backend="auto" takes the quickest; under a minute.

    With --show exit code 1 where nothing is stored that holds for this machine.
    """
    from lrbackends import _cost_store
    from lrbackends.report.calibration import as_text

    if not show:
        from lrbackends.benchmarking.calibration import calibrate as run

        with _counter("processes") as progress:
            run(seconds=seconds, backends=backends, progress=progress)
    stored = _cost_store.load()
    click.echo(as_text(stored), nl=False)
    return int(stored.model is None)


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
@opt.data
@opt.training
@click.option("--print-every", metavar="N", type=int, help="Print the loss every N epochs.")
@click.option(
    "--plots",
    metavar="DIR",
    help="Write pictures (PNG) of the curves, the weights and predictions. The curves show the "
    "validation rows; without --validation-fraction and --patience the test rows.",
)
@opt.file("--save", "Write the model, for `predict`.")
@opt.quiet
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
    data = _taken(options, opt.DATA)
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
@opt.digits
@click.option("--threshold", type=float, default=0.5, help="Probability that decides.")
@opt.file("--output", "Write the predictions there instead of to standard output.")
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
    _print(table(columns, rows, left=columns, whole=columns[:1]), *reasons)
