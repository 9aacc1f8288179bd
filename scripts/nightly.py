"""Carry out what takes longer than the tests, and record it in docs/nightly.json.

    scripts/nightly [--only bench,kills] [--out docs/nightly.json] [--seed 1]

Parts:
    tests     the tests that are marked ``nightly``
    bench     scripts/bench --quick
    kills     a fit that is killed again and again, at any moment, ends as if it were not
    group     the same of a fit by two processes, of which either is killed, stopped or signaled
    color     a fit of color_mass by two processes is signaled, and ends as one process does
    answers   scripts/answers, whose numbers go to docs/answers.json: some hours
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from bench_report import machine

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.process_groups import (  # noqa: E402
    RUN,
    Group,
    assert_same_fit,
    command,
    environment,
    result,
    steps,
)

# Shared by all processes but those of the benchmark.
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".pytest_cache/jax"))
SOON = 4.0  # seconds, at most, between a start or its first new step and what ends it
# Each saves often, so that it gets on however often it is killed.
FIT = [*RUN, "fit.steps=20000", "fit.steps_per_call=100", "checkpoint.every_steps=200"]
COLOR = ["experiment=color_mass", "samples.size=8000", "fit.steps=600", "report.enabled=false"]
COLOR += ["checkpoint.every_seconds=null", "fit.steps_per_call=10", "fit.finish=none"]
COLOR += ["report.errors=false"]


def tests(folder: Path, seed: int) -> dict[str, Any]:
    options = ["-m", "nightly", "--numprocesses", "2", "--dist", "loadfile", "-q"]
    program = [sys.executable, "-m", "pytest", *options]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    return {"told": done.stdout.strip().splitlines()[-1].strip("= ")}


def bench(folder: Path, seed: int) -> dict[str, Any]:
    program = [sys.executable, str(ROOT / "scripts/bench.py"), "--quick", "--out", str(folder)]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((folder / "bench.json").read_text())["rows"]
    return {"rows": len(rows), "ratios": {r["case"]: r["ratio"] for r in rows if "ratio" in r}}


def reference(folder: Path, fit: list[str]) -> Path:
    """An uninterrupted fit by one process."""
    path = folder / "straight"
    program = command(path, "runtime.cpu_devices=1", small=fit)
    done = subprocess.run(program, env=environment(), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return path


def kills(folder: Path, seed: int, most: int = 12) -> dict[str, Any]:
    chance, straight, run = random.Random(seed), reference(folder, FIT), folder / "run"
    at = []
    for _ in range(most):
        process = subprocess.Popen(
            command(run, "runtime.cpu_devices=1", small=FIT),
            env=environment(),
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # Half of them while it starts, the others while it fits.
        if chance.random() < 0.5:
            before = steps(run)
            while process.poll() is None and steps(run) == before:
                time.sleep(0.02)
        time.sleep(chance.uniform(0, SOON))
        process.kill()
        process.wait()
        at.append(steps(run))
    done = subprocess.run(
        command(run, "runtime.cpu_devices=2", small=FIT), env=environment(), cwd=folder
    )
    assert done.returncode == 0
    assert_same_fit(run, straight)
    return {"kills": most, "at_steps": at}


def group(folder: Path, seed: int, most: int = 6) -> dict[str, Any]:
    chance, straight, run = random.Random(seed), reference(folder, FIT), folder / "run"
    ends = []
    for _ in range(most):
        number = chance.choice([signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
        with Group(run, 2, "runtime.cpu_devices=1", cwd=folder, small=FIT) as both:
            both.wait_for("run directory: ")
            if chance.random() < 0.7:
                both.wait_for("pretrained")
            time.sleep(chance.uniform(0, SOON))
            rank = chance.randrange(2)
            both.processes[rank].send_signal(number)
            ((code, _),) = both.ends(1 - rank)
            ends.append([number.name, rank, code, steps(run)])
            # 0 where it was done before.
            assert code in (0, 75 if number == signal.SIGTERM else 69), ends
    with Group(run, 2, "runtime.cpu_devices=1", cwd=folder, small=FIT) as both:
        assert [code for code, _ in both.ends()] == [0, 0]
    assert_same_fit(run, straight)
    return {"ends": ends}


def color(folder: Path, seed: int) -> dict[str, Any]:
    straight, run = reference(folder, COLOR), folder / "run"
    with Group(run, 2, cwd=folder, small=COLOR) as both:
        both.wait_for_steps(20)
        both.processes[1].send_signal(signal.SIGUSR1)
        assert [code for code, _ in both.ends()] == [75, 75]
    stopped = result(run)["step"]
    with Group(run, 2, cwd=folder, small=COLOR) as both:
        assert [code for code, _ in both.ends()] == [0, 0]
    assert_same_fit(run, straight)
    return {"stopped_at": stopped}


def answers(folder: Path, seed: int) -> dict[str, Any]:
    told = ROOT / "docs/answers.json"
    program = [sys.executable, str(ROOT / "scripts/answers.py"), "--out", str(told)]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    return {"rows": list(json.loads(told.read_text()))}


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "tests": tests,
    "bench": bench,
    "kills": kills,
    "group": group,
    "color": color,
    "answers": answers,
}


def carry_out(name: str, seed: int) -> dict[str, Any]:
    print(f"{name} ...", flush=True)
    begun, row = time.monotonic(), {"part": name, "result": "passed"}
    with tempfile.TemporaryDirectory(prefix="nightly-") as folder:
        try:
            row |= PARTS[name](Path(folder), seed)
        except Exception as error:
            traceback.print_exc()
            row |= {"result": "failed", "error": f"{type(error).__name__}: {error}"[:2000]}
    row["seconds"] = round(time.monotonic() - begun, 1)
    print(f"{name}: {row['result']}, {row['seconds']} s", flush=True)
    return row


def commit() -> str:
    def told(*arguments: str) -> str:
        done = subprocess.run(("git", *arguments), cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip()

    return told("rev-parse", "HEAD") + (" and changes" if told("status", "--porcelain") else "")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/nightly", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help="parts, by default all")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/nightly.json")
    parser.add_argument("--seed", type=int, help="of the moments of kills, by default the day")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(PARTS):
        parser.error(f"--only: {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    seed = options.seed if options.seed is not None else int(time.time() // 86_400)
    record = {"machine": machine(), "commit": commit(), "seed": seed, "parts": []}
    for name in names:
        record["parts"].append(carry_out(name, seed))
        options.out.write_text(json.dumps(record, indent=1) + "\n")
    return any(row["result"] == "failed" for row in record["parts"])


if __name__ == "__main__":
    sys.exit(main())
