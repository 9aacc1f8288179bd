"""The quick part of ``scripts/answers``: fits of fresh catalogs end near maximum likelihood."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_quickstart_as_shipped_ends_within_the_errors_of_maximum_likelihood(tmp_path):
    """Two catalogs: the rms of their errors is 1.0 to 1.05 of those of maximum likelihood."""
    out = tmp_path / "answers.json"
    options = ["--only", "quickstart", "--catalogs", "2", "--out", str(out)]
    program = [sys.executable, str(ROOT / "scripts/answers.py"), *options]
    subprocess.run(program, check=True, capture_output=True)
    found = json.loads(out.read_text())["quickstart"]
    assert (found["fits"], found["converged"], found["acceptable"]) == (2, 2, 2)
    rms, _ = found["rms in errors of maximum likelihood"]
    assert rms < 1.2
    assert found["within 68%, pooled"][0] > 0.3  # of 10 pairs of fit and parameter
