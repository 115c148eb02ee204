"""Saved models: exact, atomic, and never believed when they are damaged."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

import lrbackends as lrb
from lrbackends import model_file
from lrbackends.datasets import load_dataset, standardised
from lrbackends.model_file import load_model, save_model


@pytest.fixture(scope="module", params=["float64", "float32"])
def trained(request):
    data = load_dataset("breast_cancer")
    result = lrb.Trainer("numpy", epochs=7, l2=1e-3, dtype=request.param, random_state=0).fit(
        data.X_train, data.y_train
    )
    return data, result


@pytest.fixture
def small(noisy):
    """A model of three features, whose file is short enough to damage it everywhere."""
    return lrb.Trainer("numpy", epochs=3, random_state=0).fit(noisy.X, noisy.y)


def test_a_model_comes_back_to_the_last_bit(tmp_path, trained):
    data, result = trained
    path = tmp_path / "model.json"
    saved = save_model(result, path, feature_names=data.feature_names, target="diagnosis")
    model = load_model(path)
    for name in ("coef", "intercept", "classes"):
        ours, theirs = getattr(model, name), getattr(result, name)
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes() == getattr(saved, name).tobytes()
    assert model.feature_names == data.feature_names
    assert model.target == "diagnosis"
    assert model.training["loss"] == result.loss
    assert model.training["solver"] == "gd"


def test_a_model_predicts_as_its_result_does(tmp_path, trained):
    data, result = trained
    save_model(result, tmp_path / "model.json")
    model = load_model(tmp_path / "model.json")
    X, y = data.X_test, data.y_test
    np.testing.assert_array_equal(model.predict(X), result.predict(X))
    np.testing.assert_array_equal(model.predict_proba(X), result.predict_proba(X))
    assert model.accuracy(X, y) == result.accuracy(X, y)


@pytest.mark.parametrize("labels", ["text", "bool", "int", "float"])
def test_classes_keep_their_kind(tmp_path, noisy, labels):
    y = {
        "text": np.array(["née", "∅"])[noisy.y],
        "bool": noisy.y == 1,
        "int": noisy.y * 2 - 1,
        "float": noisy.y.astype(float),
    }[labels]
    result = lrb.Trainer("numpy", epochs=1).fit(noisy.X, y)
    save_model(result, tmp_path / "m.json")
    model = load_model(tmp_path / "m.json")
    assert model.classes.dtype == result.classes.dtype
    assert model.classes.tolist() == result.classes.tolist()


def test_scaling_is_folded_into_the_weights(tmp_path):
    data = load_dataset("digits01")
    scaled, mean, scale = standardised(data)
    result = lrb.Trainer("numpy", epochs=20, l2=0.1).fit(scaled.X_train, scaled.y_train)
    save_model(result, tmp_path / "m.json", scaling=(mean, scale))
    np.testing.assert_allclose(
        load_model(tmp_path / "m.json").decision_function(data.X_test),
        result.decision_function(scaled.X_test),
        rtol=1e-12,
        atol=1e-12,
    )


def test_every_flipped_bit_is_noticed(tmp_path, small):
    path = tmp_path / "m.json"
    save_model(small, path, feature_names=("a", "b", "c"))
    whole = path.read_bytes()
    damaged = tmp_path / "damaged.json"
    for i in range(len(whole)):
        for bit in (0, 5, 7):
            damaged.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << bit]) + whole[i + 1 :])
            with pytest.raises(ValueError, match=r"damaged|no model|newer"):
                load_model(damaged)
    load_model(path)


def test_every_truncation_is_noticed(tmp_path, small):
    path = tmp_path / "m.json"
    save_model(small, path)
    whole = path.read_bytes()
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(ValueError, match=r"damaged"):
            load_model(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged or no model of lrbackends: it is not JSON"),
        (b"\x89PNG\r\n", "damaged or no model of lrbackends: it is not JSON"),
        (b"[1, 2]", "no model of lrbackends: it lacks format 'lrbackends model'"),
        (b'{"format": "other"}', "no model of lrbackends"),
        (b'{"format": "lrbackends model", "version": 2}', "version 2; this lrbackends reads 1"),
        (b'{"format": "lrbackends model", "version": 1}', "does not fit its SHA-256"),
        (b'{"format": "lrbackends model", "model": NaN}', "does not fit its SHA-256"),
        (b"[" * 100_000, "it is not JSON"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path / "m.json")


@pytest.mark.parametrize(
    "change",
    [
        {"coef": [[1.0, 2.0], [3.0, 4.0]]},
        {"coef": [["a", "b", "c"]]},
        {"classes": {"dtype": "int64", "values": [0]}},
        {"feature_names": ["just one"]},
        {"dtype": "float16"},
        {"intercept": None},
    ],
)
def test_a_whole_file_with_a_wrong_model_is_refused(tmp_path, small, change):
    path = tmp_path / "m.json"
    save_model(small, path, feature_names=("a", "b", "c"))
    payload = json.loads(path.read_bytes())["model"] | change
    path.write_bytes(model_file._document(payload))
    with pytest.raises(ValueError, match="holds no usable model"):
        load_model(path)


def test_a_crash_while_writing_leaves_the_old_model(tmp_path, small, monkeypatch):
    path = tmp_path / "m.json"
    save_model(small, path)
    before = path.read_bytes()

    def crash(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match=r"No space left on device: '.*m.json'"):
        save_model(replace(small, coef=small.coef + 1), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.json"]


def test_what_cannot_be_saved_is_refused(tmp_path, small):
    with pytest.raises(OSError, match="No such file or directory"):
        save_model(small, tmp_path / "missing" / "m.json")
    with pytest.raises(ValueError, match="2 feature names were given for a model of 3"):
        save_model(small, tmp_path / "m.json", feature_names=("a", "b"))
    with pytest.raises(ValueError, match="not finite, so it is not saved"):
        save_model(replace(small, coef=small.coef * np.inf), tmp_path / "m.json")
    assert not list(tmp_path.iterdir())
