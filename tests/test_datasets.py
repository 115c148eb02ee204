"""Data by name: bundled sets and small files of each format, whole and damaged."""

import gzip
import struct
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.datasets import dump_svmlight_file

import lrbackends as lrb
from lrbackends import _files
from lrbackends.datasets import Dataset, load_dataset, load_rows, standardised

# -- bundled


def test_digits01_is_zeros_and_ones_over_sixteen():
    data = load_dataset("digits01")
    assert data.X_train.shape[1] == 64
    assert len(data.X_train) + len(data.X_test) == 360
    assert data.image_shape == (8, 8)
    assert set(data.y_train.tolist()) == {0, 1}
    assert data.X_train.min() == 0
    assert data.X_train.max() == 1


def test_digits_keeps_the_two_that_are_asked_for():
    data = load_dataset("digits", digits=(4, 9))
    assert set(data.y_train.tolist()) == set(data.y_test.tolist()) == {4, 9}


def test_digits_are_ten_classes():
    data = load_dataset("digits")
    assert lrb.Problem(data.X_train, data.y_train).n_outputs == 10


def test_breast_cancer_is_standardised_on_the_training_rows():
    data = load_dataset("breast_cancer")
    np.testing.assert_allclose(data.X_train.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(data.X_train.std(axis=0), 1, atol=1e-12)
    assert np.abs(data.X_test.mean(axis=0)).max() > 1e-3  # its own mean was not used
    assert set(data.y_train.tolist()) == {"benign", "malignant"}


@pytest.mark.parametrize("name", ["digits01", "breast_cancer"])
def test_a_split_is_stratified_and_a_function_of_its_seed(name):
    first, same, other = (load_dataset(name, random_state=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.X_train, same.X_train)
    assert not np.array_equal(first.y_test, other.y_test)
    shares = [np.mean(part == first.y_train[0]) for part in (first.y_train, first.y_test)]
    assert abs(shares[0] - shares[1]) < 0.01


def test_no_rows_are_set_aside_at_test_size_zero():
    data = load_dataset("digits01", test_size=0)
    assert data.X_train.shape == (360, 64)
    assert data.X_test.shape == (0, 64)
    assert data.y_test.shape == (0,)


def test_a_constant_column_is_only_centred(digits01):
    X = digits01.X.copy()
    X[:, 0] = 0.1
    assert 0 < X.std(axis=0)[0] < 1e-14  # a rounding error that must not become a scale
    names = tuple(map(str, range(64)))
    data = Dataset("made", X, digits01.y, X[:9], digits01.y[:9], names, None, "made up")
    scaled, mean, scale = standardised(data)
    np.testing.assert_allclose(scaled.X_train[:, 0], 0, atol=1e-14)
    np.testing.assert_allclose(scaled.X_test * scale + mean, X[:9], atol=1e-12)
    np.testing.assert_array_equal(data.X_train, X)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("digit01", {}, "there is no file 'digit01'.*did you mean 'digits01'"),
        ("digits01", {"target": "y"}, r"target \(--target\) is for CSV and Parquet files"),
        ("digits", {"digits": (3, 11)}, "no row of digits has label 11; it has 0, 1, 2"),
        ("digits", {"digits": (3, 3)}, r"two different labels, got \(3, 3\)"),
        ("digits01", {"test_size": 1.0}, "test_size must be a share of the rows, below 1"),
        ("digits01", {"test_size": -0.1}, "test_size must be a finite number >= 0"),
        ("digits01", {"test_size": 0.999}, "test_size=0.999 does not work: .*; 0 sets no rows"),
    ],
)
def test_wrong_calls_are_refused_in_one_line(source, options, message):
    with pytest.raises((OSError, ValueError), match=message) as caught:
        load_dataset(source, **options)
    assert "\n" not in str(caught.value)


def test_a_directory_is_no_data(tmp_path):
    with pytest.raises(IsADirectoryError, match="is not a regular file"):
        load_dataset(tmp_path)


# -- tables


@pytest.fixture
def flowers() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "width": rng.normal(size=12),
            "kind": ["rose", "lily"] * 6,
            "height": rng.integers(0, 9, size=12),
        }
    )


def both(data: Dataset) -> np.ndarray:
    """All rows, in an order that does not depend on the split."""
    X = np.concatenate([data.X_train, data.X_test])
    return X[np.lexsort(X.T)]


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "txt"])
@pytest.mark.parametrize("target", ["kind", 1, "1", -2])
def test_csv_with_text_labels(tmp_path, flowers, ending, target):
    path = tmp_path / f"flowers.{ending}"
    flowers.to_csv(path, index=False)
    data = load_dataset(path, target=target)
    assert data.feature_names == ("width", "height")
    assert data.target == "kind"
    assert set(data.y_train.tolist()) == {"lily", "rose"}
    X = flowers[["width", "height"]].to_numpy(float)
    np.testing.assert_array_equal(both(data), X[np.lexsort(X.T)])  # to the last bit


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators(tmp_path, flowers, separator):
    path = tmp_path / "flowers.csv"
    flowers.to_csv(path, index=False, sep=separator)
    assert load_dataset(path, target="kind").feature_names == ("width", "height")


def test_a_first_line_with_a_number_is_no_header(tmp_path):
    path = tmp_path / "plain.csv"
    path.write_text("".join(f"{i}.5, {-i}, {'MR'[i % 2]}\n" for i in range(8)))
    data = load_dataset(path, target=-1)
    assert data.feature_names == ("x0", "x1")
    assert len(both(data)) == 8


def test_the_row_numbers_that_pandas_writes_are_no_feature(tmp_path, flowers):
    path = tmp_path / "flowers.csv"
    flowers.to_csv(path)
    assert load_dataset(path, target="kind").feature_names == ("width", "height")


def test_windows_line_ends_and_byte_order_mark(tmp_path):
    path = tmp_path / "windows.csv"
    path.write_bytes("\ufeffa,y\r\n1,0\r\n2,1\r\n3,0\r\n4,1\r\n".encode())
    assert load_dataset(path, target="y", test_size=0.5).feature_names == ("a",)


def test_two_labels_of_a_table_can_be_kept(tmp_path, flowers):
    flowers.loc[:3, "kind"] = "tulip"
    path = tmp_path / "flowers.csv"
    flowers.to_csv(path, index=False)
    data = load_dataset(path, target="kind", digits=("rose", "lily"))
    assert len(both(data)) == 8


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("", "y", "is empty"),
        ("a,y\n", "y", "has no rows"),
        ("a,y\n1,0\n2,1\n", None, r"holds the labels\? Name it by target \(--target\): a, y"),
        ("age,y\n1,0\n2,1\n", "ages", "has no column 'ages'; did you mean 'age'"),
        ("a,y\n1,0\n2,1\n", "7", "has no column '7'; it has a, y"),
        ("a,b,y\n1,2,0\n3,old,1\n", "y", "column 'b' of .* holds text, 'old' in row 1"),
        ("a,b,y\n1,2,0\n3,,1\n", "y", r"column 1 \('b'\) of X has 1 missing or NaN .* in row 1"),
        ("a,b,y\n1,2,0\n3,inf,1\n", "y", r"infinite values.*row 1, column 1 \('b'\)"),
        ("a,y\n1,no\n2,\n3,yes\n", "y", "missing label .* in row 1"),
        ("a,y\n1,0.5\n2,1\n", "y", "y looks continuous: row 0 is 0.5"),
        ("a,y\n1,0\n2,1,5\n3,1\n", "y", "cannot be read as CSV: .*line 3"),
        ("a,y\n1,0\n2,0\n3,1\n", "y", "does not work: .* only 1 member"),
        ("a,y\n1,\xe9\n", "y", "cannot be read as CSV: .*utf-8"),
        ("a\0b", "y", "is none of CSV, LIBSVM, Parquet, .npz and MNIST IDX"),
    ],
)
def test_bad_tables_are_refused_with_the_place(tmp_path, text, target, message):
    path = tmp_path / "bad.csv"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        load_dataset(path, target=target)
    assert "\n" not in str(caught.value)


def test_parquet_asks_for_pyarrow_where_it_is_missing(tmp_path, monkeypatch):
    path = tmp_path / "table.parquet"
    path.write_bytes(b"PAR1....PAR1")
    monkeypatch.setattr(_files.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="needs pyarrow: pip install pyarrow"):
        load_dataset(path, target="y")


def test_parquet(tmp_path, flowers):
    pytest.importorskip("pyarrow")
    path = tmp_path / "flowers.parquet"
    flowers.to_parquet(path)
    data = load_dataset(path, target="kind")
    assert data.feature_names == ("width", "height")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        load_dataset(path, target="kind")


# -- .npz


def test_npz_with_its_own_test_part(tmp_path):
    X, y = np.arange(12.0).reshape(6, 2), np.array([0, 1] * 3)
    np.savez(tmp_path / "data.npz", X=X, y=y, X_test=X[:2] + 1, y_test=y[:2])
    data = load_dataset(tmp_path / "data.npz")
    np.testing.assert_array_equal(data.X_train, X)
    np.testing.assert_array_equal(data.X_test, X[:2] + 1)
    assert data.feature_names == ("x0", "x1")


def test_npz_of_images_is_unrolled_and_bytes_are_scaled(tmp_path):
    images = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)
    np.savez(tmp_path / "images.npz", X=images, y=[0, 1, 0, 1])
    data = load_dataset(tmp_path / "images.npz", test_size=0)
    assert data.image_shape == (2, 3)
    np.testing.assert_array_equal(data.X_train, images.reshape(4, 6) / 255)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.eye(2)}, "has no array y; it holds X"),
        ({"a": np.eye(2)}, "has no array X and y; it holds a"),
        ({"X": np.eye(2), "y": [0, 1, 1]}, "X has 2 rows but y has 3 labels"),
        ({"X": np.array([[1, "b"]], object), "y": [0]}, "cannot be read as .npz: Object arrays"),
        ({"X": np.ones(3), "y": [0, 1, 1]}, "X must have two dimensions"),
        (
            {"X": np.eye(2), "y": [0, 1], "X_test": np.eye(3), "y_test": [0, 1, 1]},
            "has 2 features but X_test has 3",
        ),
    ],
)
def test_bad_npz_files_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_dataset(tmp_path / "bad.npz")


def test_a_truncated_npz_is_refused(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, X=np.eye(4), y=[0, 1, 0, 1])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"cannot be read as .npz"):
        load_dataset(path)


# -- LIBSVM


@pytest.mark.parametrize("zero_based", [True, False])
@pytest.mark.parametrize("name", ["data.libsvm", "data.txt", "data.svm.gz"])
def test_libsvm_of_few_zeros_is_made_dense(tmp_path, name, zero_based):
    X, y = np.array([[1.5, 0, 2], [0, -1, 0], [0, 0, 4], [3, 0, 0]]), np.array([-1, 1, -1, 1])
    path = tmp_path / name
    with (gzip.open if name.endswith("gz") else open)(path, "wb") as file:
        dump_svmlight_file(X, y, file, zero_based=zero_based)
    data = load_dataset(path, test_size=0)
    np.testing.assert_array_equal(data.X_train, X)
    np.testing.assert_array_equal(data.y_train, y)
    assert data.y_train.dtype.kind == "i"
    assert data.feature_names == (("0", "1", "2") if zero_based else ("1", "2", "3"))


def test_rows_to_predict_have_the_features_of_the_model(tmp_path):
    path = tmp_path / "few.libsvm"
    path.write_text("1 2:5 9:7\n-1 1:4\n")
    rows = load_rows(path, ("1", "2", "3"))  # 3 is missing here, 9 was not seen in training
    np.testing.assert_array_equal(rows.X, [[0, 5, 0], [4, 0, 0]])
    with pytest.raises(ValueError, match="features of LIBSVM files are numbered"):
        load_rows(path, ("width", "height"))


def test_a_damaged_libsvm_file_is_refused(tmp_path):
    path = tmp_path / "bad.libsvm"
    path.write_text("1 1:2 2:3\n-1 1:x\n")
    with pytest.raises(ValueError, match=r"cannot be read as LIBSVM: .*'x'"):
        load_dataset(path)


@pytest.fixture
def words(tmp_path) -> tuple[Path, np.ndarray]:
    """A LIBSVM file of 30 rows and 40 features, one entry in twenty not zero, and its X."""
    rng = np.random.default_rng(0)
    X = np.where(rng.random((30, 40)) < 0.05, rng.integers(1, 5, (30, 40)), 0).astype(float)
    X[0, 0] = X[1, 39] = 1.0
    dump_svmlight_file(X, np.arange(30) % 2, str(tmp_path / "words.libsvm"), zero_based=False)
    return tmp_path / "words.libsvm", X


def test_sparse_libsvm_stays_sparse(words):
    path, X = words
    data = load_dataset(path, test_size=0)
    assert isinstance(data.X_train, sparse.csr_array)
    np.testing.assert_array_equal(data.X_train.toarray(), X)
    assert data.feature_names == tuple(map(str, range(1, 41)))
    assert data.X_test.shape == (0, 40)
    halves = load_dataset(path, test_size=0.5, digits=(0, 1))
    assert halves.X_train.shape == halves.X_test.shape == (15, 40)
    assert halves.X_train.sum() + halves.X_test.sum() == X.sum()


@pytest.mark.parametrize(("rows", "is_sparse"), [("1 10:1\n2 1:1\n", False), ("1 11:1\n2\n", True)])
def test_a_tenth_of_the_entries_decides(tmp_path, rows, is_sparse):
    path = tmp_path / "few.libsvm"
    path.write_text(rows)
    X = load_dataset(path, test_size=0).X_train
    assert sparse.issparse(X) == is_sparse


def test_sparse_rows_to_predict_have_the_features_of_the_model(words):
    path, X = words
    names = tuple(str(j) for j in range(50, 0, -1))  # ten that the file does not have
    found = load_rows(path, names).X
    assert isinstance(found, sparse.csr_array)
    np.testing.assert_array_equal(found.toarray()[:, 10:], X[:, ::-1])
    assert not found[:, range(10)].nnz


def test_sparse_data_train_and_predict(words):
    path, X = words
    data = load_dataset(path, test_size=0)
    model = lrb.Trainer("numpy", l2=0.1, epochs=30).fit(data.X_train, data.y_train)
    dense = lrb.Trainer("numpy", l2=0.1, epochs=30).fit(X, data.y_train)
    np.testing.assert_allclose(model.coef, dense.coef, rtol=1e-12, atol=1e-15)
    rows = load_rows(path, data.feature_names)
    assert model.predict(rows.X).tolist() == dense.predict(X).tolist()


def test_sparse_data_are_not_standardised(words):
    with pytest.raises(ValueError, match=r"words.libsvm is sparse, .* leave standardise") as caught:
        standardised(load_dataset(words[0]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "1 1:1 9999:1\n-1 2:1\n",
            "2 rows and indices up to 9999: 0.002 GB for the features alone",
        ),
        (
            "1 1:1 2:1 9:1\n" * 200,
            "200 rows and indices up to 9: 1.44e-05 GB when dense, more than",
        ),
    ],
    ids=["sparse", "dense"],
)
def test_data_larger_than_memory_are_refused(tmp_path, monkeypatch, text, message):
    path = tmp_path / "large.libsvm"
    path.write_text(text)
    load_rows(path, ("1",))
    monkeypatch.setattr(_files, "_memory", lambda: 1e4)
    with pytest.raises(MemoryError, match=message):
        load_dataset(path)


# -- MNIST IDX


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()


IMAGES = np.arange(8 * 6).reshape(8, 2, 3) * 5
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1])


@pytest.fixture(params=["", ".gz"])
def mnist(request, tmp_path) -> Path:
    """A small training pair, plain or gzipped; returns the file of images."""
    ending = request.param
    pack = gzip.compress if ending else bytes
    (tmp_path / f"train-images-idx3-ubyte{ending}").write_bytes(pack(idx(IMAGES)))
    (tmp_path / f"train-labels-idx1-ubyte{ending}").write_bytes(pack(idx(LABELS)))
    return tmp_path / f"train-images-idx3-ubyte{ending}"


def test_idx_images_find_their_labels(mnist):
    data = load_dataset(mnist, digits=(0, 2), test_size=0)
    kept = np.isin(LABELS, (0, 2))
    np.testing.assert_array_equal(data.X_train, IMAGES[kept].reshape(-1, 6) / 255)
    np.testing.assert_array_equal(data.y_train, LABELS[kept])
    assert data.image_shape == (2, 3)


def test_the_t10k_pair_beside_is_the_test_part(mnist):
    # The other way of packing, to see that each file may have its own.
    pack, ending = (bytes, "") if mnist.name.endswith("gz") else (gzip.compress, ".gz")
    (mnist.parent / f"t10k-images-idx3-ubyte{ending}").write_bytes(pack(idx(255 - IMAGES[:4])))
    alone = load_dataset(mnist, digits=(0, 1))  # without labels it is not used
    assert len(alone.X_train) < 6
    (mnist.parent / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS[:4]))
    data = load_dataset(mnist, digits=(0, 1))
    assert len(data.X_train) == 6
    np.testing.assert_array_equal(data.X_test, (255 - IMAGES[[0, 1, 3]].reshape(-1, 6)) / 255)
    np.testing.assert_array_equal(data.y_test, [0, 1, 0])


def test_idx_images_can_be_predicted_without_labels(mnist):
    (mnist.parent / mnist.name.replace("images-idx3", "labels-idx1")).unlink()
    assert load_rows(mnist, ["x"] * 6).y is None
    with pytest.raises(ValueError, match=r"no labels for .* must be named like"):
        load_dataset(mnist)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (idx(IMAGES)[:-1], idx(LABELS), "truncated or damaged: it has 63 bytes, and 64 are needed"),
        (idx(IMAGES) + b"\0", idx(LABELS), "truncated or damaged"),
        (idx(IMAGES)[:9], idx(LABELS), "truncated or damaged"),
        (idx(LABELS), idx(LABELS), "not an IDX file of images: it starts with 0x00000801"),
        (b"\0\0\x0d\x03" + idx(IMAGES)[4:], idx(LABELS), "starts with 0x00000d03"),
        (idx(IMAGES), idx(IMAGES), "not an IDX file of labels"),
        (idx(IMAGES), idx(LABELS[:-1]), "has 8 images but .* has 7 labels"),
        (idx(IMAGES)[:4] + b"\xff" * 12, idx(LABELS), "truncated or damaged"),
        (gzip.compress(idx(IMAGES))[:-12], idx(LABELS), "is damaged"),
        (gzip.compress(idx(IMAGES))[:-6] + b"123456", idx(LABELS), "is damaged"),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path, images, labels, message):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(images)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
    with pytest.raises(ValueError, match=message):
        load_dataset(tmp_path / "train-images-idx3-ubyte")


# -- rows to predict


def test_columns_of_a_table_are_found_by_name(tmp_path, flowers):
    path = tmp_path / "flowers.csv"
    flowers.to_csv(path, index=False)
    rows = load_rows(path, ("height", "width"), target="kind")
    np.testing.assert_array_equal(rows.X, flowers[["height", "width"]])
    assert rows.y is not None
    assert load_rows(path, ("height",), target="elsewhere").y is None
    with pytest.raises(ValueError, match=r"lacks 1 of the 2 columns .* trained on: depth"):
        load_rows(path, ("height", "depth"))


def test_the_test_rows_of_a_bundled_set_are_predicted():
    rows = load_rows("breast_cancer", ())
    np.testing.assert_array_equal(rows.X, load_dataset("breast_cancer").X_test)


def test_every_source_trains(tmp_path, mnist, flowers):
    """What is loaded is what a trainer takes, without a warning."""
    flowers.to_csv(tmp_path / "flowers.csv", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in (
            load_dataset(tmp_path / "flowers.csv", target="kind"),
            load_dataset(mnist, digits=(0, 1), test_size=0),
        ):
            assert lrb.Trainer("numpy", epochs=2, l2=0.1).fit(data.X_train, data.y_train)
