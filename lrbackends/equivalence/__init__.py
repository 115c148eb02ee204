"""Evidence that backends compute the same, and the right, numbers."""

from lrbackends.equivalence.evidence import EquivalenceReport, Evidence
from lrbackends.equivalence.verification import CHECKS, verify

__all__ = ["CHECKS", "EquivalenceReport", "Evidence", "verify"]
