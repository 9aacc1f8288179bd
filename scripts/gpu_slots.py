"""What a pair of a sample and a kernel costs on GPUs that are not there, by hand-written kernels.

    scripts/gpu_slots
    scripts/gpu_slots --json --samples 1000000

Counts, with their gradients in samples and weights, are compiled for a card and disassembled. In
each of the two passes, a pair costs as many issue slots as its part of the inner loop has
instructions, but at least eight for each instruction of the unit that computes exponentials and
rounds: the unit takes 16 of the 128 lanes that a multiprocessor issues in a clock.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from gpu_report import CARDS, COMPILER, has_compiler, start

CASES = [("kde", 2, 20), ("kde", 3, 60), ("fourier", 2, 20), ("fourier", 3, 60)]
# An instruction of which each pair takes one in a pass.
ONE_A_PAIR = {"kde": "MUFU.EX2", "fourier": "FRND"}
SLOTS_OF_UNIT = 8
# An offset, perhaps a condition, and an instruction.
INSTRUCTION = re.compile(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?\s*(.*?)\s*;")
ARCHITECTURE = {"h100": "sm_90a"}


def slots(counts: str, dims: int, kernels: int, samples: int, card: str) -> dict[str, Any]:
    """Issue slots of a pair in both passes of a count, ready for JSON."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MOSAIC_GPU_DUMP_TO"] = folder
        os.environ["MOSAIC_GPU_DUMP_PTX"] = "1"
        _compile(counts, dims, kernels, samples, card)
        programs = [_disassembled(file, card) for file in sorted(Path(folder).glob("*.ptx"))]
    loops = [loop for text in programs for loop in inner_loops(text)]
    passes = [found for loop in loops if (found := of_a_pair(loop, ONE_A_PAIR[counts]))]
    return {
        "counts": counts,
        "dimensions": dims,
        "kernels": kernels,
        "samples": samples,
        "card": card,
        "passes": [round(one, 1) for one in passes],
        "slots": round(sum(passes), 1),
    }


def _compile(counts: str, dims: int, kernels: int, samples: int, card: str) -> None:
    import jax
    import numpy as np
    from gpu_counts import loss_of
    from gpu_program import gpu_mesh

    from kdescent_dist.distributed.mesh import make_mesh, replicated

    mesh = gpu_mesh((CARDS / f"{card}.txtpb").read_text(), make_mesh(1))

    def array(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, np.float32, sharding=replicated(mesh))

    run = jax.jit(jax.value_and_grad(loss_of(counts, "pallas"), (0, 1)))
    arrays = array(samples, dims), array(samples), array(kernels, dims), array(dims, dims)
    run.lower(*arrays).compile({"xla_gpu_autotune_level": 0})


def _disassembled(ptx: Path, card: str) -> str:
    cubin = ptx.with_suffix(".cubin")
    assemble = ["ptxas", f"-arch={ARCHITECTURE[card]}", "-O3", str(ptx), "-o", str(cubin)]
    for command in (assemble, ["nvdisasm", "-c", str(cubin)]):
        tool = next((COMPILER / "nvidia").glob(f"*/bin/{command[0]}"))
        done = subprocess.run([str(tool), *command[1:]], capture_output=True, text=True, check=True)
    return done.stdout


def inner_loops(text: str) -> list[list[str]]:
    """The instructions of each loop of a disassembled program, without operands."""
    instructions: list[str] = []
    labels: dict[str, int] = {}
    loops = []
    for line in text.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = len(instructions)
        if not (instruction := INSTRUCTION.match(line)):
            continue
        instructions.append(instruction[1].split()[0])
        target = re.search(r"BRA.*?(\.L_x_\d+)", instruction[1])
        if target and target[1] in labels:  # back to where it has been
            loops.append(instructions[labels[target[1]] :])
    return loops


def of_a_pair(loop: list[str], one_a_pair: str) -> float | None:
    """Issue slots of a pair in a loop; None for a loop without pairs."""
    found = Counter(loop)
    pairs = sum(n for name, n in found.items() if name.startswith(one_a_pair))
    unit = sum(n for name, n in found.items() if name.startswith(("MUFU", "FRND")))
    return max(len(loop), SLOTS_OF_UNIT * unit) / pairs if pairs else None


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = ["| counts | dimensions | issue slots a pair, each pass | both |", "|---|---|---|---|"]
    for row in rows:
        each = ", ".join(map(str, row["passes"]))
        lines.append(f"| {row['counts']} | {row['dimensions']} | {each} | {row['slots']} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--card", default="h100", choices=sorted(ARCHITECTURE))
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="one line of JSON a case, not a table")
    options = parser.parse_args()
    if not has_compiler():
        parser.error("no compiler for GPUs: start scripts/gpu_slots, which installs it")
    start(1)
    rows = [slots(*case, options.samples, options.card) for case in CASES]
    print("\n".join(map(json.dumps, rows)) if options.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
