"""First metrics of solvers: approximate inverse Hessians that cost little."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lrbackends.objective import softmax
from lrbackends.solvers.cholesky import Factor, lifted
from lrbackends.solvers.lbfgs import Solve
from lrbackends.solvers.oracle import Oracle, Vector

SHRINKAGE = 0.4  # times parameters per row: share of the diagonal that a sampled Hessian lacks


def diagonal_metric(oracle: Oracle) -> Solve:
    """Return division by a diagonal like the Hessian's: columns are standardised implicitly.

    Its entries are q (1 - q) mean(x^2) + l2, where q is the share of the output's class.
    """
    problem = oracle.problem
    shares = _shares(oracle)
    q = (shares * (1 - shares))[-problem.n_outputs :]
    squares = np.append(np.outer(q, problem.rms**2), q)[: oracle.size]
    diagonal = squares + oracle.penalty
    diagonal[diagonal == 0] = 1.0
    return lambda v: v / diagonal


def start_metric(oracle: Oracle, rows: NDArray[np.intp]) -> Solve:
    """Return multiplication by the inverse of the Hessian where no feature tells classes apart.

    At w = 0 with probabilities equal to the class shares q the Hessian of K outputs is (diag(q) -
    qq') times the mean of x x', block by block. The eigenvectors of the first factor part it into K
    systems of the size of the second, which some of the rows estimate.
    """
    q = _shares(oracle)
    values, vectors = np.linalg.eigh(np.diag(q) - np.outer(q, q))
    values[0] = values[1]  # of equal changes, which change nothing and are never asked for
    gram = _gram(oracle, rows, np.ones(len(rows)))
    penalty = oracle.rows_of(oracle.penalty)[0]
    factors = [_shrunk(value * gram, penalty, oracle, rows) for value in values]

    def solve(v: Vector) -> Vector:
        parts = vectors.T @ oracle.rows_of(v)
        solved = [factor.solve(part) for factor, part in zip(factors, parts, strict=True)]
        return _flat(oracle, vectors @ np.stack(solved))

    return solve


def class_metric(oracle: Oracle, theta: Vector, rows: NDArray[np.intp]) -> Solve:
    """Return multiplication by the inverse of the Hessian's diagonal blocks, one for each output.

    Estimated by some of the rows at ``theta``; one pass for the scores.
    """
    a = softmax(oracle.scores(theta)[rows])
    penalty = oracle.rows_of(oracle.penalty)[0]
    factors = [_shrunk(_gram(oracle, rows, a_k * (1 - a_k)), penalty, oracle, rows) for a_k in a.T]

    def solve(v: Vector) -> Vector:
        parts = oracle.rows_of(v)
        solved = [factor.solve(part) for factor, part in zip(factors, parts, strict=True)]
        return _flat(oracle, np.stack(solved))

    return solve


def _shares(oracle: Oracle) -> Vector:
    """Return the weighted share of each class."""
    problem = oracle.problem
    return np.bincount(problem.y, problem.exact_weight) / problem.n_samples


def _gram(oracle: Oracle, rows: NDArray[np.intp], curvature: Vector) -> Vector:
    """Return the mean of weight curvature x x' over some rows, with a last 1 for an intercept."""
    problem, p = oracle.problem, oracle.problem.n_features
    B = np.ones((len(rows), p + oracle.objective.fit_intercept))
    B[:, :p] = problem.X[rows] if not problem.sparse else problem.X[rows].toarray()
    B *= np.sqrt(problem.exact_weight[rows] * curvature)[:, None]
    return np.asarray(B.T @ B / len(rows))


def _shrunk(gram: Vector, penalty: Vector, oracle: Oracle, rows: NDArray[np.intp]) -> Factor:
    """Factor a Gram matrix of some rows plus the penalty.

    Where these are not all rows, they know little of some directions: the diagonal is raised.
    """
    share = SHRINKAGE * len(gram) / len(rows) if len(rows) < oracle.problem.n_samples else 0.0
    gram = gram + np.diag(penalty)
    return lifted(gram, share)


def _flat(oracle: Oracle, parts: Vector) -> Vector:
    p = oracle.problem.n_features
    return np.concatenate([parts[:, :p].ravel(), parts[:, p:].ravel()])
