import sys
from types import SimpleNamespace

import pytest

import lrbackends as lrb
from lrbackends.backends import registry
from lrbackends.errors import BackendUnavailableError, LrbackendsWarning

PLUGIN = """
from lrbackends.backends.protocol import API_VERSION, Capabilities

class Good:
    name = "good"
    api_version = API_VERSION
    def capabilities(self):
        return Capabilities()
    def compile(self, problem, objective, arithmetic="fast", n_threads=None):
        raise NotImplementedError

class Old(Good):
    api_version = 0

class Incomplete:
    name = "incomplete"
    api_version = API_VERSION

class Holder:
    instance = Good()

def needs_an_argument(x):
    return Good()

def explodes():
    raise RuntimeError("no such device")
"""


@pytest.fixture
def register(monkeypatch, tmp_path):
    """Register entry points of a made-up distribution: ``register(name="module:attribute")``."""
    (tmp_path / "lr_plugin_for_tests.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)

    def add(*points: tuple[str, str]) -> None:
        found = [
            SimpleNamespace(name=name, value=value, dist=SimpleNamespace(name="plugin-package"))
            for name, value in points
        ]

        def entry_points(*, group: str) -> list[SimpleNamespace]:
            return found if group == "lrbackends.backends" else []

        monkeypatch.setattr(registry.metadata, "entry_points", entry_points)

    yield add
    sys.modules.pop("lr_plugin_for_tests", None)
    registry.load.cache_clear()


def test_built_in_backends_are_there(backend_names):
    available = lrb.available_backends()
    assert tuple(available)[:3] == backend_names
    for name in backend_names:
        assert available[name]
        assert available[name].source == "built in"
        assert available[name].engine.split()[0] == name
        assert available[name].engine.split()[1][0].isdigit()


def test_a_backend_is_found_by_its_name(backend_name):
    backend = lrb.get_backend(backend_name)
    assert backend.name == backend_name
    assert lrb.get_backend(backend_name) is backend


def test_a_backend_object_passes_through(noisy):
    backend = lrb.get_backend("numpy")
    assert lrb.get_backend(backend) is backend
    by_object = lrb.Trainer(backend, epochs=3).fit(*noisy)
    by_name = lrb.Trainer("numpy", epochs=3).fit(*noisy)
    assert by_object.backend == "numpy"
    assert by_object.coef.tobytes() == by_name.coef.tobytes()


@pytest.mark.parametrize(
    ("name", "hint"), [("nunba", "; did you mean 'numba'?"), ("JAX", ""), ("torch", "")]
)
def test_an_unknown_name_lists_those_there_are(name, hint):
    with pytest.raises(ValueError) as caught:
        lrb.get_backend(name)
    message = f"backend {name!r} is unknown; choose from numpy, numba, jax"
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith(hint)


@pytest.mark.parametrize("thing", [3, None, object(), ["numpy"]])
def test_what_is_neither_name_nor_backend_is_refused(thing):
    with pytest.raises(TypeError, match="backend must be a name or a Backend object, got"):
        lrb.get_backend(thing)


@pytest.mark.parametrize("name", ["numba", "jax"])
def test_a_missing_engine_gives_a_reason(monkeypatch, noisy, name):
    monkeypatch.setitem(sys.modules, name, None)
    reason = f"{name} is not installed; pip install {name}"
    available = lrb.available_backends()
    assert not available[name]
    assert available[name].reason == reason
    assert [bool(available[other]) for other in ("numpy", "numba", "jax") if other != name] == [
        True,
        True,
    ]
    for attempt in (lambda: lrb.get_backend(name), lambda: lrb.Trainer(name).fit(*noisy)):
        with pytest.raises(BackendUnavailableError) as caught:
            attempt()
        assert str(caught.value) == f"backend {name!r} is not available: {reason}"


@pytest.mark.parametrize("attribute", ["Good", "Holder.instance"], ids=["class", "object"])
def test_an_entry_point_is_loaded(register, attribute):
    register(("good", f"lr_plugin_for_tests:{attribute}"))
    found = lrb.available_backends()["good"]
    assert found
    assert found.source == "plugin-package"
    backend = lrb.get_backend("good")
    assert type(backend).__name__ == "Good"
    assert lrb.get_backend("good") is backend


@pytest.mark.parametrize(("name", "source"), [("numba", "built in"), ("good", "plugin-package")])
def test_a_second_backend_of_the_same_name_is_ignored(register, name, source):
    register(
        ("good", "lr_plugin_for_tests:Good"),
        (name, "lr_plugin_for_tests:Old"),
    )
    with pytest.warns(LrbackendsWarning, match=f"{name!r} of plugin-package is ignored") as caught:
        available = lrb.available_backends()
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert available[name]
    assert available[name].source == source
    assert type(lrb.get_backend("numba")).__name__ == "NumbaBackend"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (":Old", "was written for API version 0, this is 1"),
        (":Incomplete", "lacks name, api_version, capabilities or compile"),
        (":Missing", "failed to load from lr_plugin_for_tests:Missing: AttributeError"),
        ("", "failed to load from lr_plugin_for_tests"),
        (":explodes", "RuntimeError: no such device"),
        (":needs_an_argument", "TypeError"),
        ("_that_is_not_there:Good", "ModuleNotFoundError"),
    ],
    ids=lambda value: value or "no-attribute",
)
def test_a_broken_plug_in_gives_a_reason_and_harms_no_other(register, target, reason):
    register(("broken", f"lr_plugin_for_tests{target}"), ("good", "lr_plugin_for_tests:Good"))
    available = lrb.available_backends()
    assert not available["broken"]
    assert reason in available["broken"].reason
    assert "'broken'" in available["broken"].reason
    assert all(available[name] for name in ("numpy", "numba", "jax", "good"))
    with pytest.raises(BackendUnavailableError) as caught:
        lrb.get_backend("broken")
    assert str(caught.value) == available["broken"].reason


def test_a_broken_plug_in_does_not_stop_the_built_in_backends(monkeypatch):
    def fail(*, group):
        raise AssertionError("entry points were looked up for a built-in name")

    monkeypatch.setattr(registry.metadata, "entry_points", fail)
    assert lrb.get_backend("numpy").name == "numpy"
