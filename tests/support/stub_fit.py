"""Stands for ``kdescent-dist`` in jobs that test a script: its codes, signals and files, no fit.

It needs no more than Python and starts in 30 ms. ``install`` makes a folder that a job script takes
for the environment of the command. A step lasts ``STEP_S``; ``fit.steps``, ``seed`` and
``checkpoint.every_steps`` mean what they do to the command.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

DONE, FAILED, BAD_INPUT, LOST, PREEMPTED = 0, 1, 2, 69, 75
STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)
STEP_S = 0.01
# Set for a job: how long its first start imports before it listens to signals; and a code that it
# ends with after its third step, as (code) or, once per job, after a checkpoint, as (code)+saved.
IMPORTS, ENDS_WITH = "STUB_IMPORTS_S", "STUB_ENDS_WITH"


def install(folder: Path) -> Path:
    """Make a folder that can be activated, and offers this as ``kdescent-dist``; return it."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/activate").write_text(f'PATH="{folder}/bin:$PATH"\n')
    program = folder / "bin/kdescent-dist"
    program.write_text(f"#!{sys.executable} -IS\n{Path(__file__).read_text()}")
    program.chmod(0o755)
    return folder


class Stub:
    def __init__(self, given: dict[str, str], environment: dict[str, str]) -> None:
        self.given = given
        self.folder = Path(given["run_dir"])
        self.rank = int(environment.get("SLURM_PROCID", "0"))
        self.processes = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
        self.restarts = int(environment.get("SLURM_RESTART_COUNT", "0"))
        self.imports_s = float(environment.get(IMPORTS, "0")) if not self.restarts else 0.0
        self.ends_with = environment.get(ENDS_WITH, "")
        self.steps = int(given.get("fit.steps", "100"))
        self.every = int(given.get("checkpoint.every_steps", "0"))
        self.began = 0
        self.stopped: list[int] = []

    def run(self) -> int:
        time.sleep(self.imports_s)
        for number in STOPPING:
            signal.signal(number, lambda n, _: self.stopped.append(n))
        return self.lead() if self.rank == 0 else self.follow()

    def lead(self) -> int:
        (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        step = max((int(d.name) for d in (self.folder / "checkpoints").iterdir()), default=0)
        self.began = step
        given = (f"{name}: {value}\n" for name, value in self.given.items())
        (self.folder / "config.yaml").write_text("".join(given))
        metrics = self.folder / "metrics.jsonl"
        rows = metrics.read_text().splitlines(keepends=True)[:step] if metrics.exists() else []
        self.tell("running", step)
        with metrics.open("w") as file:
            file.writelines(rows)
            for i in range(step, self.steps):
                if self.stopped:
                    self.save(i)
                    return self.tell("preempted", i, PREEMPTED)
                print(json.dumps({"step": i}), file=file, flush=True)
                time.sleep(STEP_S)
                if self.every and (i + 1) % self.every == 0:
                    self.save(i + 1)
                if i == step + 3 and (code := self.planned(i)):
                    return self.tell("failed", i, code)
        self.save(self.steps)
        return self.tell("done", self.steps, DONE)

    def planned(self, step: int) -> int:
        code, _, saved = self.ends_with.partition("+")
        if saved and self.restarts:
            return 0
        if saved:
            self.save(step)
        return int(code or 0)

    def follow(self) -> int:
        """Until the first rank ends, which is signaled as well."""
        while True:
            time.sleep(STEP_S)
            try:
                now = json.loads((self.folder / "result.json").read_text())
            except (OSError, ValueError):
                continue
            if now["restarts"] == self.restarts and now["status"] != "running":
                return now["code"]

    def save(self, step: int) -> None:
        (self.folder / "checkpoints" / str(step)).mkdir(exist_ok=True)

    def tell(self, status: str, step: int, code: int = 0) -> int:
        record = {
            "status": status,
            "step": step,
            "steps": self.steps,
            "began": self.began,
            "seed": int(self.given.get("seed", "0")),
            "devices": {"processes": self.processes},
            "restarts": self.restarts,
            "code": code,
            "signal": self.stopped[0] if self.stopped else None,
        }
        new = self.folder / "result.json.new"
        new.write_text(json.dumps(record))
        new.replace(self.folder / "result.json")
        return code


def main() -> int:
    given = dict(part.lstrip("+").split("=", 1) for part in sys.argv[1:])
    try:
        stub = Stub(given, dict(os.environ))
    except ValueError as error:
        print(f"kdescent-dist: fit.steps={given.get('fit.steps')}: {error}", file=sys.stderr)
        return BAD_INPUT
    return stub.run()


if __name__ == "__main__":
    sys.exit(main())
