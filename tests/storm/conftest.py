"""The chaos run is made of parts of the grid's tests and of the filters for tests."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "grid"), str(TESTS)]
