"""How near to the limit: each kernel beside reading X once, on the same array, in turn.

The limit of a kernel that needs every number of X is the time to read X; a time divided by that is
its number of *passes*. For Hessians arithmetic can be the limit instead: their rate is noted, too.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, field
from statistics import median
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from lrbackends import Objective, Params, Problem, get_backend
from lrbackends._host import usable_cores
from lrbackends.backends.protocol import initial_state, unpack
from lrbackends.objective import as_params
from lrbackends.solvers import UpdateRule, safe_rate, smoothness

from . import optimum
from .baselines import AGREE, textbook_fit
from .conftest import L2, backends_of, need_memory
from .problems import MissingFileError, make, power_law
from .turns import in_turn, ratios, replay, replayed

pytestmark = pytest.mark.benchmark(timer=replayed)

THREADS = (1, 2) if usable_cores() > 1 else (1,)
SHAPES = {
    "131072x128": (131_072, 128),
    "16384x1000": (16_384, 1_000),
    "1048576x32": (1_048_576, 32),
}
TINY = {"200x8": (200, 8)}
STORED = {  # how X is stored: computed in
    "float64": "float64",
    "float32": "float32",
    "float32_in_float64": "float64",
    "uint8": "float64",
}
FIRST = ("loss", "loss_gradient")
SECOND = ("hessian", "loss_gradient_hessian", "hessian_product")
GROWTH_FEATURES = 30


@dataclass(frozen=True)
class Case:
    """One kernel on one array."""

    data: str
    kernel: str
    backend: str
    n_threads: int

    def __str__(self) -> str:
        return f"{self.data}-{self.kernel}-{self.backend}-{self.n_threads}"


def _kernels(stored: str) -> tuple[str, ...]:
    """Return all kernels in float64, those that solvers use most in the other types."""
    if stored == "float64":
        return FIRST + SECOND
    return FIRST[1:] if stored == "float32_in_float64" else (FIRST[1], *SECOND[1:])


def _cases(shapes: dict[str, tuple[int, int]], backends: tuple[str, ...]) -> list[Case]:
    """Array by array; on fewer threads only loss and gradient."""
    cases = [
        (f"{shape}-{stored}", kernel)
        for shape in shapes
        for stored in STORED
        for kernel in _kernels(stored)
    ]
    cases += [("sparse_many", kernel) for kernel in (*FIRST, SECOND[2])]
    cases += [("sparse_few", kernel) for kernel in (*FIRST, *SECOND)]
    return [
        Case(data, kernel, backend, n_threads)
        for data, kernel in cases
        for backend in backends
        for n_threads in (THREADS if kernel == "loss_gradient" else THREADS[-1:])
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kernel" in metafunc.fixturenames:
        shapes = TINY if metafunc.config.getoption("--smoke") else SHAPES
        cases = _cases(shapes, backends_of(metafunc.config))
        metafunc.parametrize(
            ("data", "kernel", "engine", "n_threads"),
            [astuple(c) for c in cases],
            ids=map(str, cases),
        )


class ReadOnce:
    """Reads every byte of some arrays, in as many threads.

    The largest of all 8-byte words: no arithmetic that could be slower than memory, and the same
    work for every type.
    """

    def __init__(self, arrays: list[np.ndarray], n_threads: int) -> None:
        words = [a.reshape(-1).view(np.uint8)[: a.nbytes // 8 * 8].view(np.uint64) for a in arrays]
        words = [a for a in words if a.size]
        self._parts = [[np.array_split(a, n_threads)[k] for a in words] for k in range(n_threads)]
        self._pool = ThreadPoolExecutor(n_threads - 1) if n_threads > 1 else None

    def __call__(self) -> None:
        rest = [self._pool.submit(self._read, part) for part in self._parts[1:]]
        self._read(self._parts[0])
        for future in rest:
            future.result()

    @staticmethod
    def _read(part: list[np.ndarray]) -> None:
        for words in part:
            if words.size:
                words.max()


def _arrays(X: Any) -> list[np.ndarray]:
    return [X.data, X.indices, X.indptr] if sparse.issparse(X) else [X]


def _dense(n: int, p: int, stored: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    if stored == "uint8":
        X = rng.integers(0, 256, (n, p), dtype=np.uint8)
    else:
        X = rng.standard_normal((n, p), dtype=stored.split("_")[0])
    return X, X[:, 0] > (127.5 if stored == "uint8" else 0) + 50 * rng.standard_normal(n)


@dataclass(frozen=True)
class Subject:
    """One problem, where it is evaluated, and what an evaluation has to give."""

    problem: Problem
    params: Params
    vector: Params
    theta: np.ndarray
    vector_theta: np.ndarray
    known: dict[str, Any] = field(default_factory=dict)

    def expected(self, kernel: str) -> Any:
        if kernel not in self.known:
            self.known[kernel] = self._evaluate(kernel)
        return self.known[kernel]

    def _evaluate(self, kernel: str) -> Any:
        X, y = self.problem.X, self.problem.y
        if kernel in FIRST:
            loss, gradient = optimum.loss_gradient(X, y, self.theta, L2)
            return loss if kernel == "loss" else np.append(gradient, loss)
        if kernel == "hessian_product":
            s = optimum.curvature(X, y, self.theta)
            return optimum.hessian_product(X, s, self.vector_theta, L2)
        hessian = optimum.hessian(X, y, self.theta, L2)
        if kernel == "hessian":
            return hessian
        loss, gradient = optimum.loss_gradient(X, y, self.theta, L2)
        return np.concatenate([hessian.ravel(), gradient, [loss]])


def _subject(problem: Problem) -> Subject:
    rng, p = np.random.default_rng(1), problem.n_features
    size = np.sqrt(p) * np.maximum(problem.rms, 1e-3)
    thetas = [np.append(rng.standard_normal(p) / size, 0.3) for _ in range(2)]
    thetas = [theta.astype(problem.dtype) for theta in thetas]
    params, vector = (as_params((theta[:-1], theta[-1]), problem) for theta in thetas)
    return Subject(problem, params, vector, *(theta.astype(np.float64) for theta in thetas))


@pytest.fixture(scope="module")
def subject_of() -> Iterator[Callable[..., Subject]]:
    made: dict[Any, Subject] = {}

    def subject(name: Any, make_problem: Callable[[], Problem]) -> Subject:
        if name not in made:
            made.clear()  # one at a time
            made[name] = _subject(make_problem())
        return made[name]

    return subject


def _problem(data: str, smoke: bool) -> Problem:
    if data == "sparse_many":
        return Problem(*power_law(*((200, 500, 0.02) if smoke else (20_000, 50_000, 2e-3))))
    if data == "sparse_few":
        return Problem(*power_law(*((200, 12, 0.3) if smoke else (32_561, 123, 0.11))))
    shape, stored = data.split("-")
    X, y = _dense(*(SHAPES | TINY)[shape], stored)
    return Problem(X, y, dtype=STORED[stored])


def _flat(answer: Any) -> np.ndarray:
    """Return what a kernel gave in the order of `Subject.expected`."""
    if isinstance(answer, Params):
        return np.concatenate([answer.coef[0], answer.intercept]).astype(np.float64)
    if isinstance(answer, tuple):
        loss, gradient, *hessian = answer
        return np.concatenate([*(h.ravel() for h in hessian), _flat(gradient), [loss]])
    return np.asarray(answer, np.float64)


def _call(kernels: Any, kernel: str, subject: Subject) -> Callable[[], Any]:
    evaluate = getattr(kernels, kernel)
    if kernel == "hessian_product":
        return lambda: evaluate(subject.params, subject.vector)
    return lambda: evaluate(subject.params)


def _loss(answer: Any) -> float | None:
    """Return the loss of an answer that has one."""
    if isinstance(answer, float):
        return answer
    return answer[0] if isinstance(answer, tuple) and not isinstance(answer, Params) else None


def _measure(benchmark, note, smoke, case, subject):
    """Time a kernel and reading X once in turn."""
    engine = get_backend(case.backend)
    can, problem = engine.capabilities(), subject.problem
    if problem.sparse and not can.sparse:
        pytest.skip(f"{case.backend} does not take sparse X")
    if problem.X.dtype != problem.dtype and not can.narrow:
        pytest.skip(f"{case.backend} does not read narrow X")
    if case.kernel in SECOND and not can.hessian:
        pytest.skip(f"{case.backend} has no second derivatives")
    if not can.threads and case.n_threads != THREADS[-1]:
        pytest.skip(f"{case.backend} cannot be limited to fewer threads")
    n_threads = case.n_threads if can.threads else None
    kernels = engine.compile(problem, Objective(l2=L2), n_threads=n_threads)
    call = _call(kernels, case.kernel, subject)
    answer = call()  # compiles
    expected = np.asarray(subject.expected(case.kernel))
    apart = np.abs(_flat(answer) - expected).max() / np.abs(expected).max()
    assert apart <= AGREE[problem.dtype.name], apart

    arrays = _arrays(problem.X)
    calls = {"kernel": call}
    for k in {1, case.n_threads}:
        calls[f"read_{k}"] = ReadOnce(arrays, k)
    times = in_turn(calls, smoke=smoke)
    # A small array is read faster by one thread: the limit is the faster way.
    read = [min(several) for several in zip(*list(times.values())[1:], strict=True)]
    low, middle, high = ratios(times["kernel"], read)
    seconds, n_bytes = median(times["kernel"]), sum(a.nbytes for a in arrays)
    replay(benchmark, times["kernel"])
    note(
        call,
        loss=_loss(answer),
        passes=middle,
        passes_interval=[low, high],
        kernel=case.kernel,
        backend=case.backend,
        data=case.data,
        rows=problem.n_samples,
        features=problem.n_features,
        stored=problem.X.dtype.name,
        computed=problem.dtype.name,
        threads=case.n_threads,
        bytes=n_bytes,
        read_once_seconds=median(read),
        read_once_gb_per_second=round(n_bytes / median(read) / 1e9, 2),
        ns_per_row=round(seconds / problem.n_samples * 1e9, 3),
        gflop_per_second=_rate(case.kernel, problem, seconds),
        apart=apart,
    )


def _rate(kernel: str, problem: Problem, seconds: float) -> float | None:
    """Return billions of additions and multiplications in a second, of a triangle of the Gram."""
    if problem.sparse or "hessian" not in kernel or kernel == "hessian_product":
        return None
    return round(problem.n_samples * (problem.n_features + 1) ** 2 / seconds / 1e9, 2)


def test_limit(benchmark, note, subject_of, smoke, data, kernel, engine, n_threads):
    benchmark.group = f"{kernel} {data}"
    subject = subject_of((data, smoke), lambda: _problem(data, smoke))
    _measure(benchmark, note, smoke, Case(data, kernel, engine, n_threads), subject)


def test_growth(benchmark, note, subject_of, smoke, rows, backend):
    """Time per row of one loss and gradient must not grow with the rows."""
    need_memory(rows, GROWTH_FEATURES)
    benchmark.group = f"growth {rows}x{GROWTH_FEATURES}"
    case = Case(f"growth-{rows}", "loss_gradient", backend, THREADS[-1])

    def make_problem():
        return Problem(*_dense(rows, GROWTH_FEATURES, "float64"))

    _measure(benchmark, note, smoke, case, subject_of(case.data, make_problem))


def _toy():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((10, 2))
    return X, (X[:, 0] + rng.standard_normal(10) > 0).astype(np.int64)


def _pixels():
    X, y = make("mnist01")
    return np.rint(X * 255).astype(np.uint8), y


STEPS = {"toy_10x2": (_toy, 1000), "mnist01_uint8": (_pixels, 100)}


@pytest.mark.parametrize("data", STEPS)
def test_steps(benchmark, note, smoke, backend, data):
    """Native full-batch steps in turn with a Python loop over textbook NumPy on float64."""
    make_data, steps = STEPS[data]
    if smoke and data != "toy_10x2":
        pytest.skip("not in smoke form")
    try:
        X, y = make_data()
    except MissingFileError as error:
        pytest.skip(str(error))
    problem, objective = Problem(X, y), Objective(l2=L2)
    rule = UpdateRule("gd", safe_rate(smoothness(problem, objective)))
    kernels = get_backend(backend).compile(problem, objective)
    start = initial_state(as_params((np.zeros(problem.n_features), 0.0), problem))
    wide, labels = X.astype(np.float64), problem.y.astype(float)
    calls = {
        "kernel": lambda: kernels.run(rule, start, steps, None),
        "textbook": lambda: textbook_fit(wide, labels, rule.rate, L2, [slice(None)] * steps),
    }
    state, _ = calls["kernel"]()  # compiles
    loss = kernels.loss(unpack(state.theta, problem.n_features))
    np.testing.assert_allclose(loss, calls["textbook"](), rtol=1e-11)
    times = in_turn(calls, smoke=smoke)
    benchmark.group = f"{steps} steps {data}"
    replay(benchmark, times["kernel"])
    note(
        calls["kernel"],
        X=problem.X,
        passes=steps,
        loss=loss,
        backend=backend,
        data=data,
        textbook_over_kernel=ratios(times["textbook"], times["kernel"]),
    )
