"""The parent's side of a contest: children that fit, in turn with one of our own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Timer
from typing import Any

from . import contestant
from .optimum import minimum
from .peers import TARGET, contestant_named, ours
from .problems import make
from .turns import PAUSE, Turn, ratios, repeats_for, rounds_for, take_turns

REFERENCE = ours("numba", "auto")
START_SECONDS = 120.0  # to import, and again for the first fit, which may compile
FIT_SECONDS = 30.0  # for any other fit
LADDER_SECONDS = 60.0  # for all tolerances together
_CHILD = (sys.executable, "-m", f"{__package__}.contestant")
_BURST = 2e-2


class LostError(RuntimeError):
    """A contestant gave no answer; the message says how it ended."""


class Child:
    """A process with one contestant and one problem in it; see `contestant`."""

    def __init__(self, name: str, n_threads: int, folder: Path, least: float) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `close`)
        self._process = subprocess.Popen(
            [*_CHILD, name, str(n_threads), str(folder), repr(least)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        try:
            self._hear(START_SECONDS)
        except LostError:
            self.close()
            raise

    def fit(self, tol: float, limit: float = FIT_SECONDS) -> dict[str, Any]:
        """Return what came out of one fit."""
        return self._ask({"fit": tol}, limit)

    def turn(self, tol: float, repeats: int) -> dict[str, Any]:
        """Return the seconds of one fit, the mean of several."""
        return self._ask({"turn": tol, "repeats": repeats}, FIT_SECONDS * (1 + repeats))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def _ask(self, order: dict[str, Any], limit: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._hear(limit)

    def _hear(self, limit: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        began = time.perf_counter()
        timer = Timer(limit, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line and time.perf_counter() - began >= limit:
            raise LostError(f"no answer within {limit:g} s")
        if not line:
            self._said.seek(0)
            last = self._said.read().decode(errors="replace").strip().splitlines()[-1:]
            said = f", saying {last[0]!r}" if last else ""
            raise LostError(f"the process ended with exit code {self._process.wait()}{said}")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise LostError(answer["failed"])
        return answer


@dataclass(frozen=True)
class Outcome:
    """How a contestant did.

    Attributes
    ----------
    seconds : list of float
        Of one fit, in each round.
    info : dict
        What belongs beside them.
    """

    seconds: list[float]
    info: dict[str, Any]


class Arena:
    """One problem in one type, on disk for the children, with its minimum and our reference."""

    def __init__(self, problem: str, dtype: str, n_threads: int, *, smoke: bool) -> None:
        self.problem, self.dtype, self._smoke, self._n_threads = problem, dtype, smoke, n_threads
        self.X, self.y = make(problem, dtype, smoke=smoke)
        self.least = minimum(self.X, self.y, 1 / len(self.y)).loss
        self._folder = Path(tempfile.mkdtemp(prefix="lrbackends-"))
        contestant.save(self._folder, self.X, self.y)
        self._reference: Child | None = None
        self._lost: str | None = None

    def close(self) -> None:
        """End the reference and remove the files."""
        if self._reference is not None:
            self._reference.close()
        shutil.rmtree(self._folder)

    def reference(self) -> Child | None:
        """Return our own contestant that all others take turns with, None if it is lost."""
        if self._reference is None and self._lost is None:
            child = None
            try:
                child = Child(REFERENCE, self._n_threads, self._folder, self.least)
                child.fit(TARGET, START_SECONDS)
                self._reference = child
            except LostError as error:
                if child is not None:
                    child.close()
                self._lost = str(error)
        return self._reference

    def measure(self, name: str, n_threads: int, *, beside: bool = True) -> Outcome:
        """Find the loosest tolerance that reaches the target and time it."""
        entry, (n, p) = contestant_named(name), self.X.shape
        info: dict[str, Any] = {
            "problem": self.problem,
            "rows": n,
            "features": p,
            "dtype": self.dtype,
            "contestant": name,
            "ours": entry.ours,
            "version": entry.version(),
            "threads": n_threads,
            "least_loss": self.least,
            "target": TARGET,
            "reached": False,
            "over_reference": None,
        }
        began = time.perf_counter()
        child = None
        try:
            child = Child(name, n_threads, self._folder, self.least)
            child.fit(entry.ladder[0], START_SECONDS)  # compiles, starts threads
            info |= _climb(child, entry.ladder)
            seconds = self._rounds(child, info, beside=beside) if info["reached"] else None
        except LostError as error:
            info |= {"status": str(error), "reached": False}
            seconds = None
        finally:
            if child is not None:
                child.close()
        if seconds is None:
            seconds = [info.get("seconds") or time.perf_counter() - began]
        info.pop("seconds", None)
        return Outcome(seconds, info)

    def _rounds(self, child: Child, info: dict[str, Any], *, beside: bool) -> list[float]:
        """Time the child in turn with our reference, and note the ratio."""
        runs: list[float | None] = []

        def turn_of(process: Child, tol: float, seconds: float) -> Turn:
            def turn() -> float:
                answer = process.turn(tol, repeats_for(seconds, _BURST))
                if process is child:
                    runs.append(answer["run_seconds"])
                return float(answer["seconds"])

            return turn

        slowest = info["seconds"]
        turns = {"child": turn_of(child, info["tol"], info["seconds"])}
        reference = self.reference() if beside else None
        if reference is not None:
            seconds = reference.fit(TARGET)["seconds"]
            turns["reference"] = turn_of(reference, TARGET, seconds)
            slowest = max(slowest, seconds)
        times = take_turns(turns, rounds_for(slowest, smoke=self._smoke), pause=PAUSE)
        known = [seconds for seconds in runs if seconds is not None]
        if known:
            info["run_seconds"] = median(known)
        if reference is not None:
            info["over_reference"] = ratios(times["child"], times["reference"])
        return times["child"]


def _climb(child: Child, ladder: tuple[float, ...]) -> dict[str, Any]:
    """Return the first fit that reaches the target, or else the nearest to it."""
    nearest: dict[str, Any] = {}
    began = time.perf_counter()
    for tol in ladder:
        try:
            answer = child.fit(tol) | {"tol": tol}
        except LostError as error:
            return nearest | {"reached": False, "status": f"at tol={tol:g}: {error}"}
        if not nearest or abs(answer["suboptimality"]) < abs(nearest["suboptimality"]):
            nearest = answer
        # Of our own the certificate has to say so, too.
        if answer["suboptimality"] <= TARGET and answer.get("certified", 0.0) <= TARGET:
            return answer | {"reached": True}
        if time.perf_counter() - began > LADDER_SECONDS:
            status = f"did not reach the target in {LADDER_SECONDS:g} s of attempts"
            return nearest | {"reached": False, "status": status}
    said = "" if nearest["status"] == "returned" else f" ({nearest['status']})"
    return nearest | {"reached": False, "status": f"reached the target at no tolerance{said}"}
