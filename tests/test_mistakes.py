"""Every mistake of MISTAKES.md has a test, and every test that cites one cites one of these."""

import re
from pathlib import Path

TESTS = Path(__file__).parent


def test_each_mistake_has_a_test():
    listed = set(re.findall(r"^\| (\d+) \|", (TESTS / "MISTAKES.md").read_text(), re.MULTILINE))
    cited = {n for path in TESTS.rglob("test_*.py") for n in re.findall(r"def test_mistake_(\d+)_", path.read_text())}
    assert listed == cited == {str(n) for n in range(1, 14)}
