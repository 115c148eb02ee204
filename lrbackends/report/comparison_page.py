"""A comparison as a page: verdict, fifteen answers, drawings, tables, method, machine."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from markupsafe import Markup

from lrbackends._units import seconds
from lrbackends.benchmarking.advice import candidates, level, unsteady, words
from lrbackends.benchmarking.agreement import worse
from lrbackends.benchmarking.cells import GAP, VARIATIONS
from lrbackends.benchmarking.compare import VARIATION_ROUNDS, compare
from lrbackends.benchmarking.comparison import Comparison
from lrbackends.benchmarking.questions import Answer, of_sizes, optimal
from lrbackends.benchmarking.rows import Measured
from lrbackends.benchmarking.statistics import CONFIDENCE, MARGIN
from lrbackends.datasets import BUNDLED
from lrbackends.equivalence.trajectory import BETWEEN_BACKENDS, TO_REFERENCE
from lrbackends.report import comparison_tables as tables
from lrbackends.report import figure_data as data
from lrbackends.report.comparison import head, remarks
from lrbackends.report.figures import KINDS, figure
from lrbackends.report.page import Table, render, svg

_SECTIONS = (
    ("questions", "Questions"),
    ("drawings", "Drawings"),
    ("tables", "Tables"),
    ("method", "Method"),
    ("again", "Run it again"),
    ("machine", "Machine"),
)
_RANDOM = "random data"  # what `compare` calls the data it makes up


def as_html(comparison: Comparison) -> str:
    """Return the comparison as one self-contained page."""
    answers = comparison.answers()
    views = [_view(comparison, kind, answers) for kind in KINDS]
    shown = tuple(table(comparison) for table in (tables.times, tables.results, tables.agreement))
    there = {view.id for view in views if view.drawing is not None}
    there |= {table.id for table in shown if table.rows} | {"machine", "method"}
    return render(
        "comparison.html",
        title=_title(comparison),
        kind="Comparison",
        lead=f"{head(comparison)} {len(comparison.rows)} cells in {_long(comparison.seconds)}.",
        sections=_SECTIONS,
        boxes=_boxes(comparison),
        questions=[_question(answer, data.backends(comparison), there) for answer in answers],
        views=views,
        tables=shown,
        remarks=remarks(comparison),
        method=_METHOD,
        call=_call(comparison),
        command=_command(comparison),
        machine=_machine(comparison),
    )


def _title(comparison: Comparison) -> str:
    return (
        f"Which backend for {comparison.n_samples:,} rows of {comparison.n_features:,} "
        f"feature{'s' * (comparison.n_features != 1)}?"
    )


def _long(duration: float) -> str:
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes} min {rest} s" if minutes else seconds(duration)


# -- the verdict


@dataclass(frozen=True)
class Box:
    """A verdict: its tone, the same in a word, in a sentence, and the particulars."""

    tone: str
    word: str
    sentence: str
    text: str = ""
    items: tuple[str, ...] = ()


def _boxes(comparison: Comparison) -> list[Box]:
    found = [_agreement(comparison), _recommendation(comparison)]
    failed: dict[str, list[str]] = {}
    for row in comparison.rows:
        if not isinstance(row, Measured) or row.status == "diverged":
            who = f"{row.backend} ({data.label(comparison, row.cell)})"
            failed.setdefault(f"{row.status}: {row.reason}", []).append(who)
    if failed:
        items = tuple(f"{words(who)} – {what}" for what, who in failed.items())
        n = sum(map(len, failed.values()))
        sentence = f"{n} of {len(comparison.rows)} cells have no result to use."
        found.append(Box("warn", "Not measured", sentence, items=items))
    return found


def _agreement(comparison: Comparison) -> Box:
    text = comparison.verdict()
    names = [row.backend for row in comparison.trained]
    losers = worse(comparison.trained)
    if comparison.disagreements():
        return Box("bad", "Disagree", "The backends do not give the same answer.", text)
    if losers:
        who = words([row.backend for row in losers])
        return Box("bad", "Worse", f"{who} ended with a higher objective than the best.", text)
    if not comparison.distances:
        return Box("warn", "Not compared", "There was nothing to compare the answer with.", text)
    sentence = (
        f"{words(names)} give the same answer."
        if len(names) > 1
        else f"{names[0]} gives the answer of exact arithmetic, as near as the contract asks."
    )
    if unsteady(comparison):
        return Box("warn", "Agree, not steadily", sentence, text)
    return Box("good", "Agree", sentence, text)


def _recommendation(comparison: Comparison) -> Box:
    rows, _ = candidates(comparison)
    text = comparison.recommend()
    if not rows:
        sentence = "No backend can be recommended."
        return Box("bad", "Recommended", sentence, text.removeprefix(sentence).strip())
    if len(rows) == 1:
        return Box("plain", "Recommended", f"{rows[0].backend}: no other was compared.", text)
    once, many = level(rows, "cold_fit"), level(rows, "warm_fit")
    both = [row.backend for row in many if row in once]
    sentence = (
        f"{both[0]}, for one fit in a fresh process and for many in one."
        if both
        else f"{' or '.join(r.backend for r in once)} for one fit in a fresh process, "
        f"{' or '.join(r.backend for r in many)} for many fits in one."
    )
    return Box("plain", "Recommended", sentence, text)


# -- the questions


@dataclass(frozen=True)
class Question:
    """A question, its answer in up to three parts, and what on the page belongs to it."""

    number: int
    question: str
    lead: str
    items: tuple[str, ...]
    tail: str
    links: tuple[tuple[str, str], ...]


_NAMES = {
    "cost": "Cold and warm fits",
    "sizes": "Time against rows",
    "loss": "Loss against time",
    "agreement": "Agreement",
    "reproducible": "Cost of the same bits",
    "passes": "Against the limit",
}
_PLACES = {
    **{f"drawing-{kind}": f"Drawing: {name}" for kind, name in _NAMES.items()},
    "times": "Table: times",
    "results": "Table: results",
    "by-task": "Table: agreement",
    "method": "How it is measured",
    "machine": "Machine",
}
_LINKS = (  # by question
    ("drawing-cost", "drawing-sizes"),
    ("drawing-sizes",),
    ("drawing-cost", "times"),
    ("times",),
    ("times",),
    ("times",),
    ("times",),
    ("results",),
    ("times", "results"),
    ("drawing-agreement", "drawing-reproducible", "by-task"),
    ("drawing-loss", "results"),
    ("drawing-loss", "times"),
    ("drawing-cost", "method"),
    ("machine",),
    (),
)


def _question(answer: Answer, names: Sequence[str], there: set[str]) -> Question:
    places = _LINKS[answer.number - 1] if answer.data else ()
    links = [(id_, _PLACES[id_]) for id_ in places if id_ in there]
    return Question(answer.number, answer.question, *_itemised(answer.text, names), tuple(links))


def _itemised(text: str, names: Sequence[str]) -> tuple[str, tuple[str, ...], str]:
    """Return lead, items and tail of an answer that goes through the backends one by one.

    Such an answer has a clause for each backend, which begins with its name; any other is all lead.
    """
    clauses = text.split("; ")
    lead, colon, first = clauses[0].partition(": ")
    if _first_name(clauses[0], names) or not colon:
        lead, first = "", clauses[0]
    clauses[0] = first
    begins = [_first_name(clause, names) for clause in clauses]
    if len(clauses) < 2 or None in begins or len(set(begins)) < len(begins):
        return text, (), ""
    last, _, tail = clauses[-1].partition(". ")
    return f"{lead}:" * bool(lead), (*clauses[:-1], last.removesuffix(".")), tail


def _first_name(text: str, names: Sequence[str]) -> str | None:
    word = text.partition(" ")[0].rstrip(":,")
    return word if word in names else None


# -- the drawings


@dataclass(frozen=True)
class View:
    """A drawing with the figures behind it, or the reason why there is none."""

    id: str
    name: str
    drawing: Markup | None
    caption: str
    table: Table | None


_CAPTIONS = {
    "cost": "Left: what one fit costs in a fresh process, in the order in which it is paid. Right: "
    "the same fit again, with the interval of its median. The two have scales of their own.",
    "sizes": "How the time grows with rows; both scales are logarithmic. Bands hold the median "
    "with 95 %. A dashed line is a change of the fastest backend, the grey around it what that "
    "number of rows may be as well.",
    "loss": "Above: how far the objective is from the best one while a warm fit runs. Below, where "
    "it was measured: how long solvers that seek the optimum take, and scikit-learn's.",
    "agreement": "Units in the last place: the median over all parameters, then the largest. The "
    "darker, the nearer the median is to what the contract allows; what is beyond has a cross and "
    "a frame.",
    "reproducible": "What it costs to get the same bits from every backend, on every machine.",
    "passes": "No epoch can be faster than reading X, unless X stays in a cache. Both scales are "
    "logarithmic; bands hold the median with 95 %.",
}


def _view(comparison: Comparison, kind: str, answers: Sequence[Answer]) -> View:
    id_, name = f"drawing-{kind}", _NAMES[kind]
    try:
        drawn = figure(comparison, kind, headed=False)
        table = tables.BEHIND[kind](comparison)
    except ValueError as reason:
        return View(id_, name, None, str(reason), None)
    description = _DESCRIPTIONS[kind](comparison, answers)
    return View(id_, name, svg(drawn, title=name, description=description), _CAPTIONS[kind], table)


def _ratios_in_words(comparison: Comparison, _: Sequence[Answer]) -> str:
    found = data.reproducible(comparison)
    return "; ".join(f"{name} {over.median:.3g} times" for name, over in found.items())


def _passes_in_words(comparison: Comparison, _: Sequence[Answer]) -> str:
    return "; ".join(
        f"{curve.backend} from {curve.values[0].median:.3g} times with {curve.n_samples[0]:,} rows "
        f"to {curve.values[-1].median:.3g} times with {curve.n_samples[-1]:,}"
        for curve in data.passes(comparison)
    )


_DESCRIPTIONS: dict[str, Callable[[Comparison, Sequence[Answer]], str]] = {
    "cost": lambda _, answers: answers[2].text,
    "sizes": lambda _, answers: answers[1].text,
    "loss": lambda _, answers: answers[10].text,
    "agreement": lambda _, answers: answers[9].text,
    "reproducible": _ratios_in_words,
    "passes": _passes_in_words,
}


# -- method, machine


_FAST = BETWEEN_BACKENDS["fast"]
_METHOD = (
    (
        "Cell",
        "One backend doing one task under one set of conditions. Each measurement of a cell is "
        "made in a fresh process, which is confined to its cores before it imports anything.",
    ),
    (
        "Round",
        "One process of every cell, in an order shuffled anew, so that a drift of the machine's "
        f"speed meets all alike. Variations of the task get at most {VARIATION_ROUNDS} rounds.",
    ),
    (
        "Median, interval",
        "The median over processes of each process's median. Its interval comes from a bootstrap "
        f"of the processes and holds the median with {100 * CONFIDENCE:.0f} %, as far as so few "
        "can tell; with fewer than six it is about their range.",
    ),
    ("Ratio", "Formed within rounds, process by process; its median and interval are given."),
    (
        "Tie",
        f"A ratio whose interval holds 1, or that is nearer to 1 than {100 * MARGIN:.0f} %. A "
        "result with a worse objective never counts as faster.",
    ),
    (
        "Import",
        "Loading the backend and its engine in a fresh process, right after import lrbackends "
        "(NumPy's own import is part of it: every backend needs that).",
    ),
    (
        "Data, compile",
        "Bringing the data to the engine, and compiling; both are parts of the first fit. Solvers "
        "that seek the optimum compile while they run: for them compiling is what the first fit "
        "took longer than a warm one.",
    ),
    (
        "First, warm, cold fit",
        "First: the whole first fit in a process, checking of the data included. Warm: the same "
        "fit again, in the same process. Cold: import and first fit.",
    ),
    ("Epoch", "The native steps of a warm fit, divided by its epochs."),
    (
        "Other numbers of rows",
        "Rows are drawn from the data, repeatedly where there are fewer. Large ones train fewer "
        "epochs; the time of a fit is then its start and the epochs that were asked for.",
    ),
    (
        "Crossover",
        "Where the interpolated times of the two fastest meet. Its interval comes from drawing "
        "whole rounds anew, and ends where the sizes that were measured end.",
    ),
    (
        "Optimum",
        f"Solver auto, to within {GAP:g} of the least objective, relatively, certified by a "
        "duality gap; scikit-learn with the loosest tolerance that gets there.",
    ),
    (
        "Memory",
        "The most that was resident at a time in the process; how much of it came during the first "
        "fit, on top of the imported engine and the data.",
    ),
    (
        "Reading X",
        "The best time that NumPy's BLAS took to read all of X once, in any of the processes.",
    ),
    (
        "ULP, reference",
        "Units in the last place of the type computed in. The reference does the same steps in "
        "extended precision.",
    ),
    (
        "Contract",
        f"Fast arithmetic: backends within {_FAST.median_ulp:g} ULP (median) and "
        f"{_FAST.relative:g} (relative, in float64) of one another, "
        f"within {TO_REFERENCE.median_ulp:g} ULP (median) of the reference, and no predicted label "
        "differs. "
        "Reproducible arithmetic: the same bits. Solvers that seek the optimum stop at different "
        "points near it and are judged by the objective.",
    ),
)


def _machine(comparison: Comparison) -> list[tuple[str, str]]:
    machine = comparison.machine
    lines = ", ".join(f"{name} {n:,}" for name, n in comparison.lines_of_code.items())
    facts = [
        ("Processor", machine.cpu),
        ("Cores", f"{machine.cores} that this process may use"),
        ("System", machine.system),
        ("Python", machine.python),
        ("Versions", ", ".join(f"{name} {v}" for name, v in machine.versions.items())),
        ("BLAS", "; ".join(machine.blas) or "none found"),
        ("Environment", ", ".join(f"{k}={v}" for k, v in machine.environment.items())),
        ("Lines of code", lines),
    ]
    return [(name, value) for name, value in facts if value]


# -- how to run it again


def _options(comparison: Comparison) -> dict[str, Any]:
    """Return the options of `compare` that made this comparison and are not its defaults."""
    settings = asdict(comparison.settings)
    wanted = {"backends": list(data.backends(comparison)), **settings}
    wanted |= {"rounds": comparison.rounds, "vary": _varied(comparison)}
    if "size" in wanted["vary"]:
        sizes = {row.cell.n_samples for row in of_sizes(comparison)}
        wanted["sizes"] = sorted(sizes - {comparison.n_samples})
    usual = inspect.signature(compare).parameters
    options = {k: v for k, v in wanted.items() if k in usual and v != usual[k].default}
    if options.get("dtype") == "float64":
        del options["dtype"]
    if set(wanted["vary"]) == set(VARIATIONS):
        del options["vary"]
    return options


def _varied(comparison: Comparison) -> list[str]:
    usual = comparison.varied
    cells = [row.cell for row in comparison.rows]
    there = {
        "size": any(cell.n_samples != comparison.n_samples for cell in cells),
        "arithmetic": any(cell.settings.arithmetic != usual.arithmetic for cell in cells),
        "dtype": any(cell.settings.dtype != usual.dtype for cell in cells),
        "threads": any(cell.threads is not None for cell in cells),
        "cache": any(cell.cache != "usual" for cell in cells),
        "optimum": bool(optimal(comparison)),
    }
    return [name for name in VARIATIONS if there[name]]


def _shape(comparison: Comparison) -> tuple[int, int] | None:
    return (comparison.n_samples, comparison.n_features) if comparison.name == _RANDOM else None


def _call(comparison: Comparison) -> str:
    """Return the call of `compare` that measures this again."""
    lines = ["import lrbackends as lrb"]
    options = _options(comparison).items()
    arguments = [f"{name}={value!r}".replace("'", '"') for name, value in options]
    if (shape := _shape(comparison)) is not None:
        arguments.insert(0, f"shape={shape}")
    elif comparison.name in BUNDLED:
        lines.append(f'data = lrb.load_dataset("{comparison.name}")')
        arguments.insert(0, "data.X_train, data.y_train, X_test=data.X_test, y_test=data.y_test")
    else:
        arguments.insert(0, "X, y" + ", X_test=X_test, y_test=y_test" * bool(comparison.n_test))
    body = "".join(f"    {argument},\n" for argument in arguments)
    return "\n".join([*lines, "", f"comparison = lrb.compare(\n{body})"])


def _command(comparison: Comparison) -> str:
    """Return the command that measures this again."""
    parts = ["lrbackends compare"]
    if (shape := _shape(comparison)) is not None:
        parts.append(f"--shape {shape[0]}x{shape[1]}")
    else:
        parts.append(comparison.name if comparison.name in BUNDLED else "DATA")
    for name, value in _options(comparison).items():
        flag = {"random_state": "seed"}.get(name, name.replace("_", "-"))
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        parts.append(f"--{flag} {shlex.quote(text or 'none')}")
    return " ".join([*parts, "--html comparison.html"])
