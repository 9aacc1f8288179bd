"""The ahead-of-time report: how thunks are read and counted, and what is compiled for an H100."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import rings

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"

# Of XLA: a loop of steps holds a graph, a sequence whose first thunk is on its line, and a loop.
THUNKS = """\
001: kCustomKernel [source       | next=002 (1)] fill grid: [1, 1, 1]
002: kWhile        [prev=001 (1) | sink        ]
condition:
    003: kCustomKernel [source | sink] more grid: [1, 1, 1]
  body:
    000: kCommandBuffer [source       | next=006 (1)]
        004: kCustomKernel [source | sink] add grid: [1, 1, 1]
        005: kCopy         [source | sink] kCopy
    008: kSequential    [prev=000 (1) | next=009 (1)]               006: kCopy      [source] kCopy
      007: kTriangularSolve [prev=006 (1) | sink        ] (no description)
    009: kWhile         [prev=008 (1) | next=012 (4)]
condition:
        010: kCustomKernel [source | sink] more grid: [1, 1, 1]
      body:
        011: kCustomCall [source | sink] kCustomCall
    014: kAsyncStart     [prev=009 (1) | next=015 (1)] stream=communication_stream[0], async_id=12
        013: kAllGather [source | sink] kAllGather
    015: kAsyncDone      [source       | sink        ] async_id=14
    016: kWhile         [prev=015 (1) | sink        ]
condition:
        017: kCustomKernel [source | sink] more grid: [1, 1, 1]
      body:
        018: kCustomCall [source | sink] kCustomCall
"""
NAMES = {2: "while.1", 7: "solve", 9: "while.2", 11: "factor", 13: "gather", 16: "w", 18: "own"}
HLO = """\
HloModule jit_run

FunctionNames
1 "steps"
2 "blocks"

FileLocations
1 {file_name_id=1 function_name_id=1 line=75 end_line=75 column=1 end_column=2}
2 {file_name_id=1 function_name_id=2 line=76 end_line=76 column=1 end_column=2}

StackFrames
1 {file_location_id=2 parent_frame_id=1}
2 {file_location_id=1 parent_frame_id=2}

ENTRY %main (p: f32[5]) -> f32[5] {
  %while.1 = (s32[], f32[5]{0}) while(%t), metadata={op_name="while" stack_frame_id=2}
  %while.2 = (s32[]) while(%t), metadata={op_name="while" stack_frame_id=1}
  %w = (s32[]) while(%t), backend_config={"known_trip_count":{"n":"4"}}
  %solve = f32[2,2]{0,1} custom-call(%a), custom_call_target="__cublas$triangularSolve"
  %factor = (f32[2,2]{0,1}, s32[]) custom-call(%a), custom_call_target="cusolver_potrf_ffi"
  %gather = (f32[1,5]{1,0}, f32[8,5]{1,0}) all-gather-start(%a), dimensions={0}
  ROOT %own = f32[5]{0} custom-call(%a), custom_call_target="mosaic_gpu_v2"
}
"""


@pytest.fixture
def counted(monkeypatch):
    """Count the launches of a step, with the given lengths of loops, of ten in a dispatch."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from gpu_hlo import read_instructions
    from gpu_launches import count_launches
    from gpu_thunks import parse_thunks

    return lambda trips, thunks=THUNKS: count_launches(
        parse_thunks(thunks, NAMES), read_instructions(HLO), trips, steps=10
    )


def test_launches_are_those_of_a_step(counted):
    found = counted({"steps": 10, "blocks": 3})
    assert {name: round(number, 6) for name, number in found.counts.items()} == {
        "kernels alone": 0.1 + 1.1 + 1 + 4 + 4,  # fill, more, the copy of a sequence, more, own
        "kernels in graphs": 2,
        "graphs": 1,
        "library calls": 1 + 3,
        "round trips": 1.1 + 4,
        "collectives": 1,
    }
    assert found.libraries == {"__cublas$triangularSolve": 1, "cusolver_potrf_ffi": 3}
    assert found.collective_bytes == 8 * 5 * 4
    assert found.unknown == set()


def test_a_loop_of_unknown_length_is_told(counted):
    found = counted({"steps": 10})
    assert found.unknown == {"blocks"}
    assert found.libraries["cusolver_potrf_ffi"] == 1


def test_in_a_graph_nothing_waits_for_the_host(counted):
    lines = THUNKS.replace("kCommandBuffer", "kSequential").splitlines()
    inside = [line if line == "condition:" else f"    {line}" for line in lines]
    graph = ["000: kCommandBuffer [source | sink]", *inside]
    found = counted({"steps": 10, "blocks": 3}, "\n".join(graph))
    assert found.counts["graphs"] == pytest.approx(0.1)
    assert found.counts["kernels in graphs"] == pytest.approx(0.1 + 1.1 + 2 + 1 + 4 + 4)
    assert found.counts["round trips"] == found.counts["kernels alone"] == 0


# Upper limits of what a step launches, to be lowered with what the program needs.
ON_ONE = {"library_calls": 0, "round_trips": 0, "collectives": 0, "collective_bytes": 0}
ON_ONE |= {"graphs": 0.01}
ON_EIGHT = {"library_calls": 0, "round_trips": 1.01, "collectives": 2, "graphs": 3}
LIMITS = {
    (1, "quickstart"): {**ON_ONE, "kernels": 55, "temporary_mb": 4},
    (1, "quickstart", "samples.size=1000000"): {**ON_ONE, "kernels": 67, "temporary_mb": 65},
    (1, "quickstart", "samples.size=100000000"): {**ON_ONE, "kernels": 78, "temporary_mb": 5300},
    (1, "color_mass"): {**ON_ONE, "kernels": 58, "temporary_mb": 15},
    (1, "galaxy_colors"): {**ON_ONE, "kernels": 85, "temporary_mb": 15},
    (8, "quickstart"): {**ON_EIGHT, "kernels": 67, "temporary_mb": 0.5, "collective_bytes": 6048},
}
# Tables of samples x kernels, which XLA stores where they are small.
STORED = {
    (1, "quickstart"): ["[8, 1, 1, 1, 20, 625]"],
    (8, "quickstart"): ["[1, 1, 1, 1, 20, 625]"],
}


@pytest.mark.parametrize("fit", LIMITS, ids=lambda fit: " ".join(map(str, fit)))
def test_a_step_compiled_for_h100s_stays_within_limits(fit, monkeypatch):
    """Without a GPU; a loop of unknown length that nobody knows would make the numbers wrong."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from gpu_report import has_compiler

    if not has_compiler():
        rings.cannot_run("no compiler for GPUs: scripts/gpu_report installs the extra gpu-aot")
    devices, experiment, *overrides = fit
    command = [sys.executable, str(SCRIPTS / "gpu_report.py"), "--json", "--devices", str(devices)]
    done = subprocess.run(
        [*command, f"experiment={experiment}", *overrides],
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    limits = LIMITS[fit]
    assert {name: found[name] for name in limits if found[name] > limits[name]} == {}
    assert found["loops_counted_once"] == []
    assert found["pair_tables"] == STORED.get(fit, [])
