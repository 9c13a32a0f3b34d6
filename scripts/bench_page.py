"""Where the figures of scripts/bench stand in README."""

from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
PICTURE = README.parent / ".readme" / "bench.svg"
MARK = "figures of scripts/bench"
"""Between ``<!-- this -->`` and ``<!-- end of this -->`` README is written anew."""
SHOWN = f"![What zgrid does beside others, as bars on scales of tens]({PICTURE.relative_to(README.parent)})"
