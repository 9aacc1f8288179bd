"""Measure the package against diffopt 2.0, and how it grows, on this machine.

    scripts/bench [--quick] [--only counts,fits] [--out bench]

Every case runs in a process of its own, one at a time: functions that are compared run back to
back there after warm-up, ours first, and the minimum of the repeats counts. Counts and KeOps are
pinned to one core, where there is no GPU; all else has all cores, one device for each (fits: one
device, as a script has whose import alone is changed). Prints Markdown tables; writes bench.json
and bench.png.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bench_report

SECTIONS = tuple(bench_report.TITLES)
Job = dict[str, Any]


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    """What runs in each process: a section, a function of ``module.name``, and its arguments."""
    quick = options.quick
    cores = len(os.sched_getaffinity(0))
    # A GPU is fed by the host: leave that all its cores.
    one = cores if list(Path("/dev").glob("nvidia[0-9]*")) else 1

    def job(section: str, function: str, cores: int = cores, devices: int = 1, **arguments) -> Job:
        return {
            "section": section,
            "function": function,
            "cores": cores,
            "devices": devices,
            "arguments": arguments,
        }

    for n in options.sizes or ([8_000] if quick else [8_000, 100_000, 1_000_000]):
        for dims, kernels in [(d, k) for d, k in ((2, 20), (3, 60)) if d in options.dims]:
            yield job("counts", "bench_cases.counts", one, n=n, dims=dims, kernels=kernels)
    for number, whole in ((1, 100), (2, 600)):
        for library in ("ours", "diffopt"):
            steps = 20 if quick and library == "diffopt" else whole
            arguments = {"number": number, "library": library, "steps": steps, "whole": whole}
            yield job("fits", "bench_cases.fit", **arguments)
    n, kernels = (10_000, 600) if quick else (100_000, 6_000)
    for library in ("ours", "diffopt"):
        arguments = {"library": library, "n": n, "kernels": kernels}
        yield job("pretrain", "bench_cases.pretrain", devices=cores, **arguments)
    n, number = (10_000, 10) if quick else (100_000, 50)
    yield job("bins", "bench_cases.bins", devices=cores, n=n, number=number, kernels=20)
    for dims, kernels in ((2, 20),) if quick else ((2, 20), (3, 60)):
        n = 10_000 if quick else 100_000
        yield job("keops", "bench_scaling.keops", one, n=n, dims=dims, kernels=kernels)
    sizes, kernels = ([100_000], [20, 60]) if quick else ([100_000, 1_000_000], [20, 60, 200])
    yield job("memory", "bench_scaling.memory", sizes=sizes, kernels=kernels)
    for library in ("ours", "diffopt"):
        yield job("memory", "bench_scaling.peak", library=library, n=sizes[-1], kernels=60)
    yield job("collectives", "bench_scaling.collectives", devices=8, sizes=[10_000, 1_000_000])
    largest = min(options.largest, 100_000) if quick else options.largest
    n = 10_000
    while n <= largest:
        yield job("scale", "bench_scaling.scale", devices=cores, n=n)
        n *= 10


def work(job: Job) -> None:
    """Run one job in this process, and print its rows and the devices."""
    available = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, available[: job["cores"]])  # before XLA starts its threads
    import jax

    if job["section"] == "collectives":
        jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", job["devices"])
    # A first call is to compile, whatever the environment says.
    jax.config.update("jax_enable_compilation_cache", False)
    module, name = job["function"].split(".")
    rows = getattr(__import__(module), name)(**job["arguments"])
    device = jax.devices()[0]
    names = dict.fromkeys((device.platform, device.device_kind))
    print(json.dumps({"rows": rows, "device": " ".join(names)}))


def measure(job: Job) -> Job:
    """Run one job in a process of its own; what it printed, or a row that says why it failed."""
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    case = " ".join(f"{key}={value}" for key, value in job["arguments"].items())
    return {"rows": [{"case": case, "note": f"failed: {reason}", "failed": True}], "device": None}


def collect(options: argparse.Namespace) -> dict[str, Any]:
    record = {"machine": bench_report.machine(), "quick": options.quick, "devices": []}
    rows: dict[tuple[str, str], Any] = {}
    for job in jobs(options):
        if job["section"] not in options.only:
            continue
        begun = time.monotonic()
        print(f"{job['section']} {job['arguments']}", end=" ", file=sys.stderr, flush=True)
        result = measure(job)
        print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr)
        if job["section"] != "collectives" and result["device"] not in (None, *record["devices"]):
            record["devices"].append(result["device"])
        for row in result["rows"]:
            # The two libraries of a fit run in two processes, and share a row.
            shared = rows.setdefault((job["section"], row["case"]), {"section": job["section"]})
            shared |= row | {"cores": job["cores"]}
    record["rows"] = list(rows.values())
    bench_report.finish(record["rows"])
    return record


def sections(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in SECTIONS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(SECTIONS)}")
    return names


def sizes(text: str) -> list[int]:
    return [int(float(size)) for size in text.split(",")]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, in about three minutes")
    parser.add_argument(
        "--only",
        type=sections,
        default=list(SECTIONS),
        metavar="NAMES",
        help=f"sections, by commas: {', '.join(SECTIONS)}",
    )
    parser.add_argument("--out", type=Path, default=Path("bench"), metavar="DIR")
    parser.add_argument(
        "--sizes", type=sizes, default=None, metavar="N", help="samples of the counts, by commas"
    )
    parser.add_argument(
        "--dims", type=sizes, default=[2, 3], metavar="D", help="dimensions of the counts"
    )
    parser.add_argument(
        "--largest",
        type=lambda text: int(float(text)),
        default=100_000_000,
        metavar="N",
        help="most samples of a step (default 1e8)",
    )
    parser.add_argument("--job", type=json.loads, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job is not None:
        work(options.job)
        return 0
    record = collect(options)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bench.json").write_text(json.dumps(record, indent=1) + "\n")
    bench_report.draw(record, options.out / "bench.png")
    print(bench_report.markdown(record))
    print(f"wrote {options.out / 'bench.json'} and {options.out / 'bench.png'}")
    return int(any(row.get("failed") for row in record["rows"]))


if __name__ == "__main__":
    sys.exit(main())
