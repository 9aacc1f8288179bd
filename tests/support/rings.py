"""The rings of the tests: those of the rooms, of parity, and of the whole system.

Further rings are parts of the continuous integration with a time of their own: answers of whole
fits, chaos (processes that are killed, stopped or signaled), documents, and what needs a GPU.

What a ring needs and does not find is told aloud at the end, and fails under ``CI=true``.
"""

import os
from collections import Counter
from pathlib import Path
from typing import NoReturn

import pytest

PARTS = ("answers", "chaos", "documents", "gpu")
OUTER = ("parity", "system", *PARTS)
TESTS = Path(__file__).parents[1]


def cannot_run(reason: str) -> NoReturn:
    """Skip a test for what this host lacks; under ``CI=true`` that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


SLOW = "slow: takes seconds; scripts/test --quick leaves these tests out"
NIGHTLY = "nightly: too long for the suite; scripts/nightly runs these tests"


def ring_of(file: Path) -> str:
    """Of a test file: its folder where that is one of ``OUTER``, else rooms."""
    folder = file.relative_to(TESTS).parts[0]
    return folder if folder in OUTER else "rooms"


# Of each ring, the files that take longest; the first three mostly wait for other processes.
LONGEST = (
    *("system/test_slurm", "system/test_processes", "system/test_cli", "system/test_mpirun"),
    *("documents/test_ext", "chaos/test_lost", "chaos/test_other", "system/"),
    *("parity/test_transforms", "parity/test_objective", "parity/test_covariance", "parity/"),
    *("fitting/", "report/test_run_page", "diagnostics/", "run/", "counts/", "pretraining/"),
)


def order(item: pytest.Item) -> int:
    """The longest files go first, lest one worker be left with one of them at the end."""
    path = item.path.relative_to(TESTS).as_posix()
    return next((i for i, start in enumerate(LONGEST) if path.startswith(start)), len(LONGEST))


def account(terminal: pytest.TerminalReporter, root: Path) -> None:
    """Tell the seconds and tests of each ring, and aloud which of them did not run wholly."""
    seconds, tests = Counter[str](), Counter[str]()
    for report in (r for found in terminal.stats.values() for r in found):
        if isinstance(report, pytest.TestReport):
            ring = ring_of(root / report.nodeid.partition("::")[0])
            seconds[ring] += report.duration
            tests[ring] += report.when == "call" or report.skipped
    for ring in seconds:
        terminal.write_line(f"ring {ring}: {tests[ring]} tests, {seconds[ring]:.0f} s")
    missed = Counter(
        (ring_of(root / report.nodeid.partition("::")[0]), _reason(report))
        for report in terminal.stats.get("skipped", [])
    )
    for (ring, reason), number in missed.items():
        if ring in OUTER:
            told = f"RING {ring.upper()} DID NOT RUN WHOLLY: {number} skipped: {reason}"
            terminal.write_sep("!", told, red=True, bold=True)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    found = report.longrepr
    return str(found[2] if isinstance(found, tuple) else found).removeprefix("Skipped: ")
