"""scikit-learn's bundled data on breast cancer, 569 x 30, standardised."""

from typing import ClassVar

from benchopt import BaseDataset
from scipy import sparse
from sklearn.datasets import load_breast_cancer


class Dataset(BaseDataset):
    name = "breast_cancer"
    parameters: ClassVar = {"form": ["dense", "sparse"]}

    def get_data(self):
        X, y = load_breast_cancer(return_X_y=True)
        X = (X - X.mean(axis=0)) / X.std(axis=0)
        return {"X": sparse.csr_array(X) if self.form == "sparse" else X, "y": 2.0 * y - 1.0}
