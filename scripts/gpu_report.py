"""What a step of a fit launches on GPUs that are not there: the ahead-of-time report.

    scripts/gpu_report experiment=quickstart
    scripts/gpu_report --card h100 --devices 8 experiment=color_mass samples.size=1000000
    scripts/gpu_report --json experiment=quickstart

The program of a dispatch of 100 steps is compiled for a card, which needs no GPU and no driver, and
read. Numbers are of one step and one device, on the average over the dispatch. The computed time is
that of launches, with the prices of gpu_prices.py; the work of the kernels is not in it.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from gpu_hlo import read_instructions, sizes
from gpu_launches import count_launches
from gpu_prices import computed_us
from gpu_thunks import read_thunks

SCRIPTS = Path(__file__).resolve().parent
CARDS = SCRIPTS / "gpu_cards"
COMPILER = SCRIPTS.parent / ".venv" / "gpu-aot"  # where scripts/gpu_report installs the extra


def report(card: str, devices: int, overrides: list[str], dump: Path) -> dict[str, Any]:
    """What the compiled steps of a config launch, ready for JSON.

    Args:
        card: name of a file in ``gpu_cards``.
        devices: number of GPUs, which is that of the CPU devices.
        overrides: overrides of the config, as on the command line.
        dump: an empty folder for what XLA dumps.

    Raises:
        InputError: the config is not valid.
    """
    from gpu_program import compile_for

    program = compile_for((CARDS / f"{card}.txtpb").read_text(), overrides, dump)
    instructions = read_instructions(program.text)
    launches = count_launches(
        read_thunks(dump, program.module), instructions, program.trips, program.steps
    )
    usage = max(dump.glob(f"*{program.module}*memory-usage-report.txt"), default=None)
    arrays = [dims for _, dims in sizes(usage.read_text())] if usage is not None else []
    return {
        "config": overrides,
        "card": card,
        "devices": devices,
        "kernels": round(launches.kernels, 2),
        "graphs": round(launches.counts["graphs"], 2),
        "library_calls": round(launches.counts["library calls"], 2),
        "libraries": {name: round(n, 2) for name, n in sorted(launches.libraries.items())},
        "round_trips": round(launches.counts["round trips"], 2),
        "collectives": round(launches.counts["collectives"], 2),
        "collective_bytes": round(launches.collective_bytes),
        "temporary_mb": round(program.temporary_bytes / 1e6, 3),
        "pair_tables": sorted({str(list(d)) for d in arrays if program.is_pair_table(d)}),
        "compile_s": round(program.compile_s, 1),
        "computed_us": round(computed_us(launches.counts)),
        "loops_counted_once": sorted(launches.unknown),
    }


ROWS = {
    "kernels": "kernels and copies",
    "graphs": "launches of CUDA graphs",
    "library_calls": "library calls",
    "round_trips": "host round trips",
    "collectives": "collectives",
    "collective_bytes": "bytes of collectives",
    "temporary_mb": "temporaries, MB",
    "compile_s": "seconds to compile",
    "computed_us": "computed time of launches, us",
}


def table(found: dict[str, Any]) -> str:
    """The report as a Markdown table."""
    title = f"a step on {found['devices']} x {found['card']}: {' '.join(found['config'])}"
    lines = [f"| {title} | |", "|---|---|"]
    lines += [f"| {words} | {found[name]:,} |" for name, words in ROWS.items()]
    lines += [f"| of them {name} | {number:,} |" for name, number in found["libraries"].items()]
    tables = ", ".join(found["pair_tables"]) or "none"
    lines.append(f"| stored tables of samples x kernels | {tables} |")
    if found["loops_counted_once"]:
        names = ", ".join(found["loops_counted_once"])
        lines.append(f"| loops of unknown length, counted once | {names} |")
    return "\n".join(lines)


def has_compiler() -> bool:
    """Whether the compiler for GPUs is installed, beside this package or by ``gpu_report``."""
    places = [Path(place) / "jax_plugins" for place in (*sys.path, COMPILER)]
    return any(any(place.glob("xla_cuda*")) for place in places)


def start(devices: int) -> None:
    """Prepare this process, before JAX starts: CPU devices, and the compiler for GPUs."""
    # The plugin asks the libraries of a driver for their versions, which are not there.
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.path[:0] = [str(SCRIPTS.parent)]
    sys.path.append(str(COMPILER))
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    # A program from the cache dumps nothing.
    jax.config.update("jax_enable_compilation_cache", False)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--card", default="h100", help="a file in scripts/gpu_cards")
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="GPUs of one node")
    parser.add_argument("--json", action="store_true", help="one line of JSON, not a table")
    parser.add_argument("--dump", type=Path, metavar="FOLDER", help="keep what XLA dumps here")
    parser.add_argument("overrides", nargs="*", help="as for kdescent-dist")
    options = parser.parse_args()
    if not (CARDS / f"{options.card}.txtpb").is_file():
        known = ", ".join(sorted(file.stem for file in CARDS.glob("*.txtpb")))
        parser.error(f"--card: {options.card!r} is none of {known}")
    if not has_compiler():
        parser.error("no compiler for GPUs: start scripts/gpu_report, which installs it")
    start(options.devices)
    logging.basicConfig(level=logging.WARNING)
    from kdescent_dist.config.errors import InputError

    with tempfile.TemporaryDirectory() as folder:
        dump = options.dump or Path(folder)
        try:
            found = report(options.card, options.devices, options.overrides, dump)
        except InputError as error:
            print(error, file=sys.stderr)
            return 2
    print(json.dumps(found) if options.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
