"""Where the cost model of this machine is kept: a JSON file in the user's cache directory."""

from __future__ import annotations

import json
import secrets
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from lrbackends._cost_model import CostModel, as_document, from_document
from lrbackends._host import cache_directory, cpu_model, installed_versions, usable_cores

SCHEMA = 1
COMMAND = "lrbackends calibrate"


class Stored(NamedTuple):
    """What the file has: the model, or why there is none.

    Attributes
    ----------
    model : CostModel or None
    reason : str
        Why there is none that can be used; empty where there is one.
    document : dict
        The file as it is; empty where it cannot be read.
    """

    model: CostModel | None
    reason: str
    document: dict[str, Any]


def path() -> Path:
    """Return the file's name."""
    return cache_directory() / "calibration.json"


def fingerprint() -> dict[str, Any]:
    """Return what a measurement holds for: processor, cores that may be used, versions."""
    return {"cpu": cpu_model(), "cores": usable_cores(), "versions": installed_versions()}


def save(model: CostModel, **facts: Any) -> Path:
    """Write the model, atomically; return the file's name.

    Parameters
    ----------
    model : CostModel
    **facts
        Written beside it, for people.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    file = writable()
    document = {"schema": SCHEMA, "machine": fingerprint(), **facts, "backends": as_document(model)}
    beside = file.with_name(f".{file.name}.{secrets.token_hex(4)}.tmp")
    try:
        beside.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
    return file


def writable() -> Path:
    """Return the file's name where it can be written; make its directory.

    Raises
    ------
    OSError
        It cannot; the message names the directory and what would work.
    """
    folder = None
    try:
        folder = path().parent
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / f".{secrets.token_hex(4)}.tmp"
        trial.touch()
        trial.unlink()
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise OSError(
            f"the calibration cannot be kept in {folder or 'the cache directory'} ({why}); set "
            "LRBACKENDS_CACHE_DIR to a directory that can be written"
        ) from None
    return path()


def load() -> Stored:
    """Return the model of this machine, or why there is none; the file is read once a process."""
    try:
        file = path()
        seen = file.stat()
    except (OSError, RuntimeError):
        return Stored(None, "this machine is not calibrated", {})
    return _read(str(file), seen.st_mtime_ns, seen.st_size, seen.st_ino, usable_cores())


@cache
def _read(file: str, *_: int) -> Stored:
    document: dict[str, Any] = {}
    try:
        document = json.loads(Path(file).read_bytes())
        if document["schema"] != SCHEMA:
            return Stored(None, "the calibration is of another version of lrbackends", document)
        changed = _changes(document["machine"])
        if changed:
            return Stored(None, f"the calibration is of another machine: {changed}", document)
        return Stored(from_document(document["backends"]), "", document)
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        whole = document if isinstance(document, dict) else {}
        return Stored(None, f"the calibration in {file} is damaged", whole)


def _changes(machine: Any) -> str:
    """Return in which facts this machine differs from that one."""
    here = fingerprint()
    pairs = {
        "processor": (machine["cpu"], here["cpu"]),
        "cores": (machine["cores"], here["cores"]),
    }
    for name in sorted({*machine["versions"], *here["versions"]}):
        pairs[name] = machine["versions"].get(name), here["versions"].get(name)
    return ", ".join(
        f"{name} {was or 'missing'} then, {now or 'missing'} now"
        for name, (was, now) in pairs.items()
        if was != now
    )
