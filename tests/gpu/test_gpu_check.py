"""The GPU check runs, on a CPU as well, and records what fails; its numbers are not tested."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

pytestmark = pytest.mark.as_shipped

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))


def check(folder, *options, scripts=SCRIPTS):
    """Run the check in ``folder``; the process and its lines."""
    command = [sys.executable, str(scripts / "gpu_check.py"), *options]
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache/jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    done = subprocess.run(
        command, cwd=folder, env=os.environ | cache, capture_output=True, text=True
    )
    return done, [json.loads(line) for line in done.stdout.splitlines()]


def endings_of(lines):
    """The last line of each section."""
    return {line["section"]: line for line in lines if "status" in line}


def test_smoke_measures_in_each_section_and_nothing_fails(scripts, tmp_path):
    """From any folder; a section for a GPU alone says so."""
    from gpu_sections import NEEDS_GPU, all_sections

    done, lines = check(tmp_path, "--smoke", "--out", "here/check.jsonl")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "here" / "check.jsonl").read_text() == done.stdout
    facts = lines[0]
    assert facts["device"]
    assert facts["jax"] == jax.__version__
    assert facts["smoke"] is True
    assert "commit" in facts
    endings = endings_of(lines)
    for section in all_sections(smoke=True, trace=None):
        ending = endings[section.name]
        if section.needs_gpu and facts["backend"] != "gpu":
            assert (ending["status"], ending["reason"]) == ("skipped", NEEDS_GPU)
            continue
        assert ending["status"] == "done"
        rows = [row for row in lines if row["section"] == section.name and "status" not in row]
        assert rows
        for row in rows:
            assert row.get("minimum_us", 0) <= row.get("median_us", 0)
    assert lines[-1]["failed"] == []
    assert any((tmp_path / "here" / "check-trace").rglob("*.xplane.pb"))


BROKEN = """
def parity(backend, shapes):
    yield {"backend": backend, "ok": backend != "pallas"}

def timing(cases, seconds):
    yield {"case": 1}
    raise RuntimeError("the device is on fire")
"""


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--only", "timing-tiled,precision"], 0),
        (["--only", "timing-tiled,precision", "--smoke"], 1),
        (["--only", "parity,timing-tiled,precision"], 1),
    ],
)
def test_a_section_that_fails_stops_no_other(tmp_path, options, code):
    """The exit code tells of wrong counts, and in a smoke test of all that failed."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    for file in SCRIPTS.glob("*.py"):
        shutil.copy(file, folder)
    (folder / "gpu_counts.py").write_text(BROKEN)
    done, lines = check(tmp_path, *options, scripts=folder)
    assert done.returncode == code, done.stdout + done.stderr
    endings = endings_of(lines)
    failed = endings.pop("timing-tiled")
    assert failed["status"] == "failed"
    assert failed["error"] == "RuntimeError: the device is on fire"
    assert {"case": 1}.items() <= lines[lines.index(failed) - 1].items()
    wrong = endings.pop("parity-pallas", None)
    if wrong is not None:
        assert (wrong["status"], wrong["error"]) == ("failed", "1 measurements are not ok")
    assert "precision" in endings
    assert {ending["status"] for ending in endings.values()} == {"done"}
    # Nothing has a known origin without the facts.
    assert lines[0]["section"] == "facts"


def test_a_section_is_skipped_for_a_reason(scripts, monkeypatch, tmp_path):
    """No time, no GPU, or a package that is not installed; a module of ours must be there."""
    from gpu_check import carry_out
    from gpu_sections import Section

    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("no_such_package.part", "kdescent_dist.no_such_module"):
        module = f"needs_{name.partition('.')[0]}"
        (tmp_path / f"{module}.py").write_text(f"from {name} import something\n")
    sections = [
        Section("long", 100.0, "gpu_device.precision"),
        Section("fast", 0.0, "gpu_device.precision", needs_gpu=True),
        Section("foreign", 0.0, "needs_no_such_package.rows"),
        Section("own", 0.0, "needs_kdescent_dist.rows"),
    ]
    lines = []

    def tell(section, **row):
        lines.append({"section": section, **row})

    statuses = carry_out(sections, tell, time.monotonic() + 50.9, gpu=False)
    reasons = {line["section"]: line.get("reason") for line in lines}
    assert reasons == {
        "long": "51 s are left, about 100 s are needed",
        "fast": "needs a GPU",
        "foreign": "needs the package no_such_package",
        "own": None,
    }
    assert list(statuses.values()) == ["skipped", "skipped", "skipped", "failed"]


def test_an_unknown_section_is_refused_with_those_there_are(tmp_path):
    done, lines = check(tmp_path, "--only", "facts,time")
    assert done.returncode == 2
    assert "'time' is none of facts, parity-fused" in done.stderr
    assert lines == []


def test_an_experiment_is_that_of_its_files(scripts):
    """Parameters in a file of their own, bins of a grid, and columns for the model."""
    import gpu_fits

    problem = gpu_fits.prepare("galaxy_colors", most_bins=1)
    objective = gpu_fits.objective_of(problem, 100, None, "dense")
    assert problem.bins[0].bin.name.startswith("gr_ri")
    assert len(objective.names) == len(problem.parameters) > 200
    assert objective.config.kind == "chisq"
    assert set(objective.data["catalog"]) == {"redshift", "i"}
    assert objective.layout.size == 100
