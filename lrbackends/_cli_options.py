"""Options of the command line that several commands share, and the forms that values may have."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


class Labels(click.ParamType[Any]):
    """Two labels, "A,B"; whole numbers are numbers."""

    name = "A,B"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[Any, ...]:
        """Return the labels."""
        labels = value if isinstance(value, tuple) else tuple(map(str.strip, value.split(",")))
        if len(labels) != 2 or "" in labels:
            self.fail(f"{value!r} is not two labels like 0,1", param, ctx)
        return tuple(
            int(x) if isinstance(x, str) and x.lstrip("-").isdecimal() else x for x in labels
        )


class Percent(click.ParamType[Any]):
    """A share such as "10%"; 0.1 of 1."""

    name = "PERCENT"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return the share."""
        if isinstance(value, float):
            return value
        try:
            share = float(value.strip().removesuffix("%")) / 100
        except ValueError:
            share = -1.0
        if not 0 <= share < float("inf"):
            self.fail(f"{value!r} is not a percentage like 10%", param, ctx)
        return share


def names(_ctx: click.Context, _param: click.Parameter, value: str | None) -> list[str] | None:
    """Return the names in "A,B,…"."""
    return None if value is None else [name.strip() for name in value.split(",")]


def shape(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    """Return the two numbers of "20000x50"."""
    if value is None:
        return None
    parts = value.lower().split("x")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise click.BadParameter(f"{value!r} is not a shape like 20000x50")
    return int(parts[0]), int(parts[1])


def counts(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    """Return the whole numbers in "1000,10000"."""
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


def file(name: str, text: str) -> Callable[[Any], Any]:
    """Return an option that names a file to write."""
    return click.option(name, metavar="FILE", callback=_writable, help=text)


def _all(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Put several options on a command, in this order."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


digits = click.option(
    "--digits", "--classes", "digits", type=Labels(), help="Keep the rows of these two labels."
)
data = _all(
    click.argument("data", default="digits01"),
    click.option("--target", metavar="COLUMN", help="Column of the labels, by name or index."),
    digits,
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
DATA = ("data", "target", "digits", "test_size", "standardise")
backends = click.option(
    "--backends", metavar="A,B,…", callback=names, help="Default: all that are available."
)
json = file("--json", "Write the findings as JSON.")
quiet = click.option("--quiet", is_flag=True, help="Print warnings and errors only.")

# Named as the fields of `Trainer`, with its defaults (a test compares them).
training = _all(
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
