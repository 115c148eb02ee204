"""What pytest-benchmark stored, read as groups of benchmarks that do the same work.

`read_benchmarks` takes the JSON of any suite (``pytest --benchmark-json=FILE``). Names that the
suites of this project note beside a time (``extra_info``) are understood: ``loss``, ``status``,
``reached``, ``suboptimality``, ``target``, ``dtype``, ``passes``, ``threads``, ``versions`` and
ratios ``over_…`` that were measured in turn.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from lrbackends.benchmarking.statistics import Estimate, estimate, unpaired_ratio

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
# Rounds that follow one another share the machine's luck, so it is runs of them that are resampled:
# as many as B. Schmeiser advises (Batch size effects in the analysis of simulation output,
# Operations Research 30, 1982), who found that more gain nothing.
BATCHES = 30
# With four rounds on either side and no difference, all of one lie beyond all of the other in 2 of
# 70 orders, less than 5 %; with three in 2 of 20.
ENOUGH = 4
_ENDED_WELL = ("completed", "converged", "returned")
# Losses are sums over samples, so equal work may differ by some eps.
_ROUNDINGS = 256
# Between fits that state how far from the minimum they are, but not how far they may be.
_SAME_MINIMUM = 1e-3


@dataclass(frozen=True)
class Entry:
    """One benchmark.

    Attributes
    ----------
    label : str
        What tells it from the others of its group.
    fullname : str
        File, function and parameters: what names it in every run.
    rounds : int
    quartiles : tuple of float
        First quartile, median and third quartile of all rounds in seconds, as stored.
    batches : tuple of float
        The median of each of up to 30 batches of consecutive rounds; empty where the file has no
        rounds.
    info : mapping
        What the suite noted beside the time.
    parameters : mapping
        Of the test.
    """

    label: str
    fullname: str
    rounds: int
    quartiles: tuple[float, float, float]
    batches: tuple[float, ...]
    info: Mapping[str, Any]
    parameters: Mapping[str, Any]

    @cached_property
    def interval(self) -> Estimate | None:
        """The median in seconds with its interval, None with fewer than four rounds or none."""
        return estimate(self.batches) if self.judged else None

    @property
    def judged(self) -> bool:
        """Whether there is enough to tell a difference from noise."""
        return len(self.batches) >= ENOUGH

    @property
    def median(self) -> float:
        """Seconds; of the batches where there are any."""
        return float(np.median(self.batches)) if self.batches else self.quartiles[1]

    @property
    def loss(self) -> float | None:
        """The objective that was noted."""
        return _number(self.info.get("loss"))

    @property
    def passes(self) -> float | None:
        """Passes over the data."""
        return _number(self.info.get("passes"))

    @property
    def threads(self) -> float | None:
        """Threads that were given."""
        return _number(self.info.get("threads"))

    @property
    def cores_busy(self) -> float | None:
        """Processor time over wall time."""
        return _number(self.info.get("threads_busy"))

    @property
    def status(self) -> str:
        """How the work ended, "" where that was not noted."""
        return str(self.info.get("status") or "")

    @property
    def in_turn(self) -> dict[str, tuple[float, float, float]]:
        """Ratios measured in turn: name to lower bound, median and upper bound as noted."""
        found = {}
        for name, value in self.info.items():
            if name.startswith("over_") and isinstance(value, list) and len(value) == 3:
                low, middle, high = map(_number, value)
                if low is not None and middle is not None and high is not None:
                    found[name.removeprefix("over_").replace("_", " ")] = (low, middle, high)
        return found

    @property
    def fixed_work(self) -> bool:
        """Whether the same steps were asked for, rather than a distance from the minimum."""
        return "suboptimality" not in self.info and "target" not in self.info

    @property
    def tolerance(self) -> float:
        """How far objectives may be apart, relatively, for the same work.

        For fits to a tolerance the noted ``target``, or 1e-3 without one. Else what rounding does:
        256 eps of the noted ``computed`` or ``dtype`` (float64 without), as a loss is a sum over
        samples.
        """
        if not self.fixed_work:
            target = _number(self.info.get("target"))
            return _SAME_MINIMUM if target is None else target
        for notes in (self.info, self.parameters):
            for name in ("computed", "dtype"):
                if notes.get(name) == "float32":
                    return _ROUNDINGS * float(np.finfo(np.float32).eps)
        return _ROUNDINGS * float(np.finfo(np.float64).eps)

    @property
    def failure(self) -> str:
        """Why the work did not end well by its own account, "" if it did."""
        if self.info.get("reached") is False:
            return f"did not reach its goal ({self.status or 'no reason noted'})"
        if self.status and self.info.get("reached") is not True and self.status not in _ENDED_WELL:
            return f"ended with status {self.status}"
        if self.info.get("loss") is not None and self.loss is None:
            return f"has the objective {self.info['loss']}"
        target = _number(self.info.get("target"))
        reached = _number(self.info.get("suboptimality"))
        if target is not None and reached is not None and reached > target:
            return f"is {reached:.1e} above the minimum, which is more than {target:.1e}"
        return ""


@dataclass(frozen=True)
class Group:
    """Benchmarks that are compared with one another, fastest first.

    Attributes
    ----------
    name : str
    entries : tuple of Entry
    """

    name: str
    entries: tuple[Entry, ...]

    @cached_property
    def flags(self) -> dict[str, str]:
        """Why an entry's time does not count, by its full name; entries that count are not in it.

        It did not end well by its own account; it notes no objective where others do; or its
        objective is not that of the others. Where the same steps were asked for, an objective has
        to be the median of the group's but for rounding, in either direction; where a distance from
        the minimum was asked for, it must not be above the least by more than that. See
        `Entry.tolerance`.
        """
        flags = {e.fullname: e.failure for e in self.entries if e.failure}
        for entry in self.entries:
            loss = entry.loss
            if entry.fullname in flags:
                continue
            if loss is None:
                if any(e.loss is not None for e in self.entries):
                    flags[entry.fullname] = "notes no objective to compare with the others'"
                continue
            others = [
                e.loss
                for e in self.entries
                if e.loss is not None and not e.failure and e.fixed_work == entry.fixed_work
            ]
            expected = median(others) if entry.fixed_work else min(others)
            apart = _apart(loss, expected)
            if apart > entry.tolerance:
                flags[entry.fullname] = (
                    f"objective {loss:.10g} is {apart:.1e} (relative) from the group's "
                    f"{expected:.10g}; {entry.tolerance:.1e} is tolerated"
                )
        return flags

    @property
    def fastest(self) -> Entry | None:
        """The fastest of those whose time counts, None if there is none."""
        return next((e for e in self.entries if e.fullname not in self.flags), None)

    @cached_property
    def ratios(self) -> dict[str, Estimate]:
        """How many times as long as the fastest each one takes, where both have intervals."""
        best = self.fastest
        if best is None or not best.judged:
            return {}
        return {
            e.fullname: unpaired_ratio(e.batches, best.batches)
            for e in self.entries
            if e is not best and e.judged
        }

    def times(self, entry: Entry) -> float | None:
        """Return the entry's median over the fastest one's; None without a fastest."""
        if entry.fullname in self.ratios:
            return self.ratios[entry.fullname].median
        best = self.fastest
        return entry.median / best.median if best is not None and best.median else None

    def verdict(self, entry: Entry) -> str:
        """Return "fastest", "tie", "slower", "flagged", or "" where it cannot be told.

        A tie is a ratio to the fastest whose interval holds 1, or which is nearer to 1 than 3 %.
        """
        if entry.fullname in self.flags:
            return "flagged"
        if entry is self.fastest:
            return "fastest" if self.ratios else ""
        found = self.ratios.get(entry.fullname)
        # No median is below the fastest one's but for that of the resampled one.
        return "" if found is None else found.verdict.replace("faster", "tie")

    @property
    def level(self) -> tuple[Entry, ...]:
        """The fastest and those that tie with it."""
        return tuple(e for e in self.entries if self.verdict(e) in ("fastest", "tie"))


@dataclass(frozen=True)
class BenchmarkReport:
    """A run of benchmarks.

    Attributes
    ----------
    source : str
        The file's name.
    groups : tuple of Group
        In the order of the file.
    facts : mapping of str to str
        When and where it ran: date, processor, cores, system, python, commit, tool.
    versions : mapping of str to str
        Of packages, as far as the suite noted them.
    """

    source: str
    groups: tuple[Group, ...]
    facts: Mapping[str, str]
    versions: Mapping[str, str]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All benchmarks."""
        return tuple(entry for group in self.groups for entry in group.entries)

    def records(self) -> list[dict[str, Any]]:
        """Return a row of plain values for each benchmark; None where there is no value."""
        return [_record(group, entry) for group in self.groups for entry in group.entries]

    def to_frame(self) -> pd.DataFrame:
        """Return a data frame with a row for each benchmark; times in seconds."""
        import pandas as pd

        return pd.DataFrame(self.records())

    def to_text(self, width: int = 80) -> str:
        """Return the groups as text; no line is wider than ``width``."""
        from lrbackends.report.benchmark_text import report_as_text

        return report_as_text(self, width)

    def to_markdown(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the groups as GitHub-flavoured Markdown, and write it to ``path`` if given."""
        from lrbackends.report.benchmark_text import report_as_markdown

        return write(report_as_markdown(self), path)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return a page that is complete in itself, and write it to ``path`` if given."""
        from lrbackends.report.benchmark_page import report_as_html

        return write(report_as_html(self), path)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return what was found as JSON, and write it to ``path`` if given.

        The object holds::

            schema    1
            source, facts, versions
            benchmarks   list of {group, name, fullname, rounds, median, low, high, ratio,
                         ratio_low, ratio_high, verdict, passes, threads, cores_busy, objective,
                         status, flag}; times in seconds, ratios to the group's fastest,
                         null for what is not known
        """
        return write(as_json(self.as_dict()), path)

    def as_dict(self) -> dict[str, Any]:
        """Return what `to_json` writes."""
        return {
            "schema": SCHEMA,
            "source": self.source,
            "facts": dict(self.facts),
            "versions": dict(self.versions),
            "benchmarks": self.records(),
        }


def read_benchmarks(path: str | os.PathLike[str]) -> BenchmarkReport:
    """Return the run that ``pytest --benchmark-json=FILE`` stored.

    Benchmarks without a group are grouped by their function. A file without the time of each round
    (one of ``--benchmark-save`` without ``--benchmark-save-data``) gives medians and quartiles, but
    no intervals and no verdicts.

    Parameters
    ----------
    path : str or path

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is no such file, or holds no benchmark.
    """
    name = os.fspath(path)
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{name} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not JSON: it is not text in UTF-8") from None
    if not isinstance(document, dict) or not isinstance(document.get("benchmarks"), list):
        raise ValueError(f"{name} is not a file that pytest --benchmark-json=FILE writes")
    if not document["benchmarks"]:
        raise ValueError(f"{name} holds no benchmarks; did pytest select any?")
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for k, stored in enumerate(document["benchmarks"]):
        _check(stored, k, name)
        grouped.setdefault(_group_name(stored), []).append(stored)
    groups = tuple(_group(group, members) for group, members in grouped.items())
    return BenchmarkReport(name, groups, _facts(document), _versions(groups))


def write(text: str, path: str | os.PathLike[str] | None) -> str:
    """Return ``text`` after writing it to ``path``, if there is one."""
    if path is not None:
        Path(path).write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
    return text


def as_json(document: Mapping[str, Any]) -> str:
    """Return a document as JSON."""
    return json.dumps(document, indent=1, allow_nan=False)


def apart(new: Entry, old: Entry) -> float:
    """Return how far the objectives of two entries are apart, relatively; 0 without both.

    Where a distance from the minimum was asked for, only the part by which ``new`` is worse.
    """
    if new.loss is None or old.loss is None:
        return 0.0
    if not new.fixed_work and new.loss <= old.loss:
        return 0.0
    return _apart(new.loss, old.loss)


# -- reading


def _check(stored: Any, k: int, file: str) -> None:
    """Refuse a benchmark that lacks what every version of pytest-benchmark writes."""
    what = f"{file}: benchmark {k + 1}"
    if not isinstance(stored, Mapping) or not isinstance(stored.get("fullname"), str):
        raise ValueError(f"{what} has no fullname; pytest --benchmark-json=FILE writes one")
    stats = stored.get("stats")
    for name in ("q1", "median", "q3"):
        value = _number(stats.get(name)) if isinstance(stats, Mapping) else None
        if value is None or value < 0:
            raise ValueError(f"{what} ({stored['fullname']}) has no {name} in seconds")
    data = stats.get("data") if isinstance(stats, Mapping) else None
    if data is not None and not (
        isinstance(data, list) and all(_number(x) is not None for x in data)
    ):
        raise ValueError(f"{what} ({stored['fullname']}): data are not the seconds of its rounds")


def _number(value: Any) -> float | None:
    """Return a finite number as a float, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _apart(a: float, b: float) -> float:
    return 0.0 if a == b else abs(a - b) / max(abs(a), abs(b))


def _group_name(stored: Mapping[str, Any]) -> str:
    return str(stored.get("group") or stored["fullname"].rsplit("::", 1)[-1].partition("[")[0])


def _group(name: str, stored: Sequence[Mapping[str, Any]]) -> Group:
    labels = _labels(stored)
    entries = [_entry(label, member) for label, member in zip(labels, stored, strict=True)]
    return Group(name, tuple(sorted(entries, key=lambda entry: entry.median)))


def _entry(label: str, stored: Mapping[str, Any]) -> Entry:
    stats = stored["stats"]
    data = [float(x) for x in stats.get("data") or ()]
    batches: tuple[float, ...] = ()
    if data and min(data) > 0:  # a clock that stands still measures nothing
        parts = np.array_split(np.asarray(data), min(len(data), BATCHES))
        batches = tuple(float(np.median(part)) for part in parts)
    return Entry(
        label,
        stored["fullname"],
        int(stats.get("rounds") or len(data) or 1),
        (float(stats["q1"]), float(stats["median"]), float(stats["q3"])),
        batches,
        dict(stored.get("extra_info") or {}),
        dict(stored.get("params") or {}),
    )


def _labels(stored: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the shortest names that tell benchmarks of a group apart."""
    names = [str(s.get("name") or s["fullname"].rsplit("::", 1)[-1]) for s in stored]
    functions = {name.partition("[")[0] for name in names}
    if len(stored) > 1 and len(functions) == 1:
        for labels in (_by_parameters(stored), _by_id(names)):
            if all(labels) and len(set(labels)) == len(labels):
                return labels
    if len(set(names)) == len(names):
        return [name.removeprefix("test_") for name in names]
    return [str(s["fullname"]) for s in stored]


def _by_parameters(stored: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the values of those parameters that differ."""
    given = [s.get("params") or {} for s in stored]
    texts = [{name: _text(name, value) for name, value in params.items()} for params in given]
    varying = [n for n in texts[0] if len({t.get(n, "") for t in texts}) > 1]
    if any("UNSERIALIZABLE" in t.get(name, "") for t in texts for name in varying):
        return [""] * len(texts)
    return [", ".join(t.get(name, "") for name in varying) for t in texts]


def _text(name: str, value: Any) -> str:
    """Return a value as it reads by itself; a number needs its name."""
    return value if isinstance(value, str) else f"{name} {json.dumps(value)}"


def _by_id(names: Sequence[str]) -> list[str]:
    """Return the ids of the parameters without the parts that all begin or end with."""
    parts = [name.partition("[")[2].removesuffix("]").split("-") for name in names]
    shortest = min(map(len, parts)) - 1
    start = 0
    while start < shortest and len({p[start] for p in parts}) == 1:
        start += 1
    end = 0
    while end < shortest - start and len({p[-1 - end] for p in parts}) == 1:
        end += 1
    return ["-".join(p[start : len(p) - end]) for p in parts]


def _facts(document: Mapping[str, Any]) -> dict[str, str]:
    machine = document.get("machine_info") or {}
    cpu = machine.get("cpu") or {}
    commit = document.get("commit_info") or {}
    changed = ", with changes that are not committed" if commit.get("dirty") else ""
    facts = {
        "date": _date(document.get("datetime")),
        "processor": cpu.get("brand_raw") or machine.get("processor") or machine.get("machine"),
        "cores": cpu.get("count"),
        "system": " ".join(filter(None, (machine.get("system"), machine.get("release")))),
        "python": " ".join(
            filter(None, (machine.get("python_implementation"), machine.get("python_version")))
        ),
        "commit": f"{commit['id'][:12]}{changed}" if commit.get("id") else None,
        "tool": f"pytest-benchmark {document['version']}" if document.get("version") else None,
    }
    return {name: str(value) for name, value in facts.items() if value}


def _date(stored: Any) -> str | None:
    """Return "2026-01-31 12:00 UTC", or the text as it is where it is no date."""
    try:
        when = datetime.fromisoformat(str(stored))
    except ValueError:
        return stored and str(stored)
    return f"{when:%Y-%m-%d %H:%M} {when.tzname() or ''}".strip()


def _versions(groups: Sequence[Group]) -> dict[str, str]:
    """Return the version of each package, or several where benchmarks had different ones."""
    found: dict[str, dict[str, None]] = {}
    for group in groups:
        for entry in group.entries:
            noted = entry.info.get("versions")
            for package, version in (noted if isinstance(noted, Mapping) else {}).items():
                found.setdefault(package, {})[str(version)] = None
    return {package: " or ".join(versions) for package, versions in found.items()}


def _record(group: Group, entry: Entry) -> dict[str, Any]:
    interval, ratio = entry.interval, group.ratios.get(entry.fullname)
    return {
        "group": group.name,
        "name": entry.label,
        "fullname": entry.fullname,
        "rounds": entry.rounds,
        "median": entry.median,
        "low": interval and interval.low,
        "high": interval and interval.high,
        "ratio": group.times(entry),
        "ratio_low": ratio and ratio.low,
        "ratio_high": ratio and ratio.high,
        "verdict": group.verdict(entry),
        "passes": entry.passes,
        "threads": entry.threads,
        "cores_busy": entry.cores_busy,
        "objective": entry.loss,
        "status": entry.status,
        "flag": group.flags.get(entry.fullname, ""),
    }
