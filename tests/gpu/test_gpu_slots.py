"""What a pair of a sample and a kernel costs in the inner loops of hand-written kernels."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import rings

SCRIPTS = Path(__file__).parents[2] / "scripts"
TEXT = """
.L_x_0:
        /*0000*/                   LDG.E R0, desc[UR4][R2.64] ;
        /*0010*/              @!P0 MUFU.EX2 R1, R0 ;
        /*0020*/                   FFMA R4, R1, R0, R4 ;
        /*0030*/               @P1 BRA `(.L_x_0) ;
        /*0040*/                   BRA `(.L_x_1) ;
.L_x_1:
        /*0050*/                   EXIT ;
.L_x_2:
        /*0060*/                   BRA `(.L_x_2);
"""


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))


def test_loops_are_those_that_branch_back():
    from gpu_slots import inner_loops

    assert inner_loops(TEXT) == [["LDG.E", "MUFU.EX2", "FFMA", "BRA"], ["BRA"]]


def test_the_slower_of_issue_and_of_the_unit_for_exponentials_counts():
    from gpu_slots import of_a_pair

    assert of_a_pair(["MUFU.EX2", *["FFMA"] * 3], "MUFU.EX2") == 8
    assert of_a_pair(["MUFU.EX2", "MUFU.EX2", *["FFMA"] * 18], "MUFU.EX2") == 10
    assert of_a_pair(["BRA"], "MUFU.EX2") is None


def test_pairs_compiled_for_an_h100_stay_within_limits():
    """Without a GPU. Limits: what the counts should cost, value and gradient."""
    from gpu_report import has_compiler

    if not has_compiler():
        rings.cannot_run("no compiler for GPUs: scripts/gpu_report installs the extra gpu-aot")
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "gpu_slots.py"), "--json"],
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {}
    for line in done.stdout.splitlines():
        row = json.loads(line)
        assert len(row["passes"]) == 2
        found[row["counts"], row["dimensions"]] = row["slots"]
    limits = {("kde", 2): 17, ("kde", 3): 22, ("fourier", 2): 45, ("fourier", 3): 50}
    assert found.keys() == limits.keys()
    assert {case: found[case] for case in limits if found[case] > limits[case]} == {}
