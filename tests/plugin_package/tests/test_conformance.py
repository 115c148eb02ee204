"""Both backends do what they claim, and refuse what they do not claim."""

import importlib.util

import pytest
from lrbackends.testing import check_backend


def test_plain_conforms():
    check_backend("plain")


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_torch_conforms():
    check_backend("torch")
