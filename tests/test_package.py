"""The package as a whole: what importing it costs, who may import whom, what is public."""

import ast
import doctest
import importlib
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import lrbackends as lrb

ROOT = Path(lrb.__file__).parent
MODULES = {
    ".".join(("lrbackends", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(ROOT.rglob("*.py"))
}

# Each room may import from itself and from those above it.
ROOMS = (
    ("errors", "_validation", "_containers", "_csr", "_scan", "_blas", "_units", "_host"),
    ("problem", "objective", "scaling"),
    ("backends",),
    ("solvers",),
    (
        *("trainer", "_run", "_first_order", "_optimum", "_standardised", "_stopping"),
        *("result", "callbacks", "diagnostics", "inference", "many", "path"),
        *("_strength", "_cost_model"),
    ),
    (
        *("estimator", "estimator_cv", "_linear_classifier", "_backend_choice", "_cost_store"),
        *("_sklearn_callbacks", "_sklearn_input"),
    ),
    ("datasets", "_files", "model_file"),
    ("equivalence", "benchmarking"),
    ("report", "testing"),
    ("cli", "_cli_options", "__main__"),
)
# What results import to show themselves, within the method that shows them.
VIEWS = {
    "lrbackends.equivalence.evidence": {"lrbackends.report.verification_page"},
    "lrbackends.benchmarking.comparison": {
        "lrbackends.report.comparison_page",
        "lrbackends.report.figures",
    },
}
LEVEL = {name: level for level, room in enumerate(ROOMS) for name in room}


INSIDE = [name for name in MODULES if name != "lrbackends"]


def room_of(module: str) -> str:
    return module.split(".")[1]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in (
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    )


def imported(tree: ast.AST) -> set[str]:
    """Return the names of what run-time code imports, anywhere in a module."""
    names: set[str] = set()
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            # ``from package import module`` names a module, ``from module import name`` one too.
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        if is_type_checking(node):
            stack.extend(node.orelse)
        else:
            stack.extend(ast.iter_child_nodes(node))
    return names


def violations(module: str, source: str) -> list[str]:
    """Return the imports of ``module`` from rooms below its own."""
    level = LEVEL[room_of(module)]
    names = imported(ast.parse(source)).intersection(INSIDE) - VIEWS.get(module, set())
    return sorted(name for name in names if LEVEL[room_of(name)] > level)


def test_every_module_has_a_room():
    assert {room_of(name) for name in INSIDE} <= set(LEVEL), "say in ROOMS where the new one is"


@pytest.mark.parametrize("module", INSIDE)
def test_no_module_imports_from_a_room_below(module):
    assert violations(module, MODULES[module].read_text()) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import lrbackends.trainer", ["lrbackends.trainer"]),
        ("from lrbackends.solvers import safe_rate", ["lrbackends.solvers"]),
        ("from lrbackends import diagnostics", ["lrbackends.diagnostics"]),
        ("def f():\n    from lrbackends import solvers", ["lrbackends.solvers"]),
        ("if TYPE_CHECKING:\n    from lrbackends.trainer import Trainer", []),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import lrbackends.result", ["lrbackends.result"]),
        ("from lrbackends.problem import Problem\nimport numpy", []),
    ],
)
def test_the_check_finds_what_is_forbidden(source, found):
    assert violations("lrbackends.backends.made_up", source) == found


BACKEND_MODULES = {
    name: engine
    for name in INSIDE
    for engine in ("numpy", "numba", "jax")
    if name.startswith(f"lrbackends.backends.{engine}_")
}


@pytest.mark.parametrize("module", BACKEND_MODULES)
def test_no_backend_knows_another(module):
    engine = BACKEND_MODULES[module]
    names = imported(ast.parse(MODULES[module].read_text()))
    assert {BACKEND_MODULES.get(name, engine) for name in names} == {engine}
    assert ({"numba", "jax"} - {engine}).isdisjoint(name.split(".")[0] for name in names)


@pytest.mark.parametrize(
    "module", [name for name in INSIDE if room_of(name) not in ("backends", "equivalence")]
)
def test_only_backends_import_engines(module):
    names = imported(ast.parse(MODULES[module].read_text()))
    # Models of any backend predict in NumPy, in the arithmetic that they were trained in.
    allowed = {"lrbackends.backends.numpy_reproducible"} if module == "lrbackends.result" else set()
    assert names.isdisjoint(BACKEND_MODULES.keys() - allowed)
    assert {"numba", "jax"}.isdisjoint(name.split(".")[0] for name in names)


# -- what importing costs


def modules_after(code: str) -> set[str]:
    """Return the top-level modules loaded in a fresh interpreter that has run ``code``."""
    report = "import json, sys; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{code}\n{report}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_loads_none_of_its_dependencies():
    heavy = {"numba", "jax", "jaxlib", "scipy", "sklearn", "pandas", "matplotlib", "rich", "click"}
    assert modules_after("import lrbackends").isdisjoint(heavy)


def test_training_on_one_engine_loads_no_other():
    code = (
        "import lrbackends as lrb\n"
        "lrb.available_backends()\n"
        "lrb.Trainer('numpy', l2=0.1, epochs=3).fit([[0.0], [1.0], [3.0]], [0, 1, 1])"
    )
    assert modules_after(code).isdisjoint({"numba", "jax", "jaxlib", "pandas", "matplotlib"})


# -- what is public


def test_every_public_name_resolves():
    assert sorted(lrb.__all__) == dir(lrb)
    for name in lrb.__all__:
        assert getattr(lrb, name) is not None
    assert {"Trainer", "TrainingResult", "Problem", "Objective", "Params"} <= set(lrb.__all__)
    assert {"available_backends", "get_backend"} <= set(lrb.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'lrbackends' has no attribute 'train'"):
        _ = lrb.train


def test_the_version_is_the_one_installed():
    assert lrb.__version__ == metadata.version("lrbackends")


def test_type_hints_are_published():
    assert (ROOT / "py.typed").is_file()


def undocumented(tree: ast.Module) -> list[str]:
    """Return public modules, classes and functions without a docstring."""
    missing = [] if ast.get_docstring(tree) else ["module"]
    stack: list[tuple[str, ast.AST]] = [("", node) for node in tree.body]
    while stack:
        prefix, node = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if node.name.startswith("_") and node.name != "__call__":
                continue
            if not ast.get_docstring(node):
                missing.append(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                stack.extend((f"{prefix}{node.name}.", child) for child in node.body)
    return missing


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_is_documented(module):
    assert undocumented(ast.parse(MODULES[module].read_text())) == []


def test_the_check_finds_what_is_undocumented():
    source = 'class A:\n    """A."""\n    def f(self): ...\n    def _g(self): ...\ndef h(): ...'
    assert sorted(undocumented(ast.parse(source))) == ["A.f", "h", "module"]


@pytest.mark.parametrize(
    "module", [name for name, path in MODULES.items() if ">>>" in path.read_text()]
)
def test_examples_in_docstrings_work(module):
    outcome = doctest.testmod(importlib.import_module(module))
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_the_readme_shows_the_comparison_that_the_tool_wrote():
    root = Path(__file__).parents[1]
    written = (root / "docs" / "comparison.md").read_text()
    base, varied, _ = written.partition("\n**Varied")
    assert varied
    assert base.strip() in (root / "README.md").read_text()
