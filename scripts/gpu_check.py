"""Measure on one GPU, in one short run, what tells most about the speed of the package.

    python scripts/gpu_check.py --out check.jsonl --seconds 450
    python scripts/gpu_check.py --only parity,timing-kde-fused
    python scripts/gpu_check.py --smoke             # tiny sizes; a CPU will do

Each measurement is a JSON line, which is printed and appended to the file at once. The most
telling sections run first. A section that fails does not stop the others. A section is skipped,
with a line that says why, if the time left is less than the estimate of the section, if the
section needs a GPU, or if a package is not installed. kdescent_dist is taken from this checkout.
The exit code is 1 if a parity section failed, with --smoke if any section failed, and else 0.
"""

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from gpu_sections import NEEDS_GPU, Section, all_sections

SCRIPTS = Path(__file__).resolve().parent
Tell = Callable[..., None]  # of the name of a section and what its line says


def teller(begun: float, file: TextIO | None) -> Tell:
    """A function that prints a JSON line and appends the line to a file."""

    def tell(section: str, **row: Any) -> None:
        passed = round(time.monotonic() - begun, 1)
        line = json.dumps({"t": passed, "section": section, **row})
        print(line, flush=True)
        if file is not None:
            print(line, file=file, flush=True)

    return tell


def missing_package(error: Exception) -> str | None:
    """The package that is not installed, or None for any other error."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    root = error.name.split(".")[0]
    ours = root == "kdescent_dist" or (SCRIPTS / f"{root}.py").exists()
    return None if ours else root


def outcome(section: Section, tell: Tell) -> dict[str, Any]:
    """Run a section; how the section ended."""
    wrong = 0
    try:
        for row in section.rows():
            tell(section.name, **row)
            wrong += row.get("ok") is False
    except Exception as error:
        if package := missing_package(error):
            return {"status": "skipped", "reason": f"needs the package {package}"}
        reason = f"{type(error).__name__}: {error}"[:600]
        return {"status": "failed", "error": reason, "where": traceback.format_exc()[-600:]}
    if wrong:
        return {"status": "failed", "error": f"{wrong} measurements are not ok"}
    return {"status": "done"}


def carry_out(sections: Sequence[Section], tell: Tell, end: float, gpu: bool) -> dict[Section, str]:
    """Run sections one after another, each with a last line that tells how the section ended.

    Args:
        sections: what to run.
        tell: takes the lines.
        end: when the time is over, by ``time.monotonic``.
        gpu: whether there is a GPU.

    Returns:
        The sections with ``done``, ``failed`` or ``skipped``.
    """
    statuses = {}
    for section in sections:
        begun = time.monotonic()
        if section.needs_gpu and not gpu:
            ending = {"status": "skipped", "reason": NEEDS_GPU}
        elif end - begun < section.estimate:
            left = f"{max(end - begun, 0):.0f} s are left, about {section.estimate:g} s are needed"
            ending = {"status": "skipped", "reason": left}
        else:
            ending = outcome(section, tell)
        tell(section.name, **ending, seconds=round(time.monotonic() - begun, 1))
        statuses[section] = ending["status"]
    return statuses


def chosen(sections: Sequence[Section], only: str) -> list[Section]:
    """The sections of the given names or groups, in the order of all sections.

    The facts are always among these sections, so that each line has a known origin.

    Raises:
        ValueError: there is no such name.
    """
    if not only:
        return list(sections)
    asked = set(only.split(","))
    known = {word for section in sections for word in (section.name, section.group)}
    if unknown := sorted(asked - known):
        names = ", ".join(section.name for section in sections)
        raise ValueError(f"{unknown[0]!r} is none of {names}, nor a group such as timing")
    asked.add("facts")
    return [section for section in sections if {section.name, section.group} & asked]


def main() -> int:
    begun = time.monotonic()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="append the lines to this file")
    parser.add_argument("--seconds", type=float, default=450, metavar="S", help="time to use")
    parser.add_argument("--only", default="", metavar="NAMES", help="sections, by commas")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does the check run?")
    options = parser.parse_args()
    trace = None if options.out is None else options.out.with_name(f"{options.out.stem}-trace")
    try:
        sections = chosen(all_sections(options.smoke, trace), options.only)
    except ValueError as error:
        parser.error(f"--only: {error}")

    sys.path.insert(0, str(SCRIPTS.parent))
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    # A compilation is measured as such, whatever the environment says.
    jax.config.update("jax_enable_compilation_cache", options.smoke)
    file = None
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        file = options.out.open("a")
    tell = teller(begun, file)
    gpu = jax.default_backend() == "gpu"
    statuses = carry_out(sections, tell, begun + options.seconds, gpu)
    failed = [section for section, status in statuses.items() if status == "failed"]
    skipped = [section.name for section, status in statuses.items() if status == "skipped"]
    tell("end", failed=[section.name for section in failed], skipped=skipped)
    if file is not None:
        file.close()
    return int(any(options.smoke or section.decisive for section in failed))


if __name__ == "__main__":
    sys.exit(main())
