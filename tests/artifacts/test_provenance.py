"""Where a number comes from: this checkout, its commit."""

import subprocess

import pytest

from gqn.artifacts import provenance


def test_the_commit_is_this_checkouts():
    if not (provenance.CHECKOUT / ".git").exists():
        pytest.skip("this is no checkout")
    assert (provenance.CHECKOUT / "pyproject.toml").exists()
    describe = ["git", "-C", str(provenance.CHECKOUT), "rev-parse", "--short=10", "HEAD"]
    head = subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    assert provenance.commit() in (head, f"{head}-dirty")
