"""The example of the README is true: its files are written out and its commands run."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.process_groups import environment

pytestmark = pytest.mark.as_shipped

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with every titled block of the README as a file, except the commands."""
    folder = tmp_path_factory.mktemp("readme")
    for title, text in BLOCK.findall(README.read_text()):
        file = folder / title
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    subprocess.run([sys.executable, "make_catalog.py"], cwd=folder, check=True)
    return folder


def test_own_model_is_fitted_from_the_command_line(folder):
    command = (folder / "commands").read_text().splitlines()[1].split()
    assert command[0] == "kdescent-dist"
    arguments = [sys.executable, "-m", "kdescent_dist.cli", *command[1:], "run_dir=run"]
    done = subprocess.run(arguments, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "run" / "result.json").read_text())
    assert result["status"] == "done"
    assert result["catalog"]["dropped"]
    assert result["params"]["logm_quench"] == pytest.approx(10.6, abs=0.05)
    assert result["params"]["red_color"] == pytest.approx(0.9, abs=0.02)
    assert (folder / "run" / "report.html").stat().st_size > 10_000


def test_library_example_runs_and_finds_the_same(folder):
    done = subprocess.run(
        [sys.executable, "library.py"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    final = json.loads(done.stdout.splitlines()[-1].replace("'", '"'))
    assert final["logm_quench"] == pytest.approx(10.6, abs=0.05)
