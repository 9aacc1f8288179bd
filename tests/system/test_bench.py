"""The benchmark runs and records what it measured; the numbers themselves are not tested."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.tables import optional

pytestmark = pytest.mark.as_shipped

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def collectives_of():
    sys.path.insert(0, str(SCRIPTS))
    try:
        return __import__("bench_scaling").collectives_of
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.mark.nightly
def test_counts_are_measured_against_diffopt_and_recorded(tmp_path):
    """A table on the screen, a figure, and a JSON with the machine and one ratio per case."""
    optional("diffopt")
    tiny = ["--quick", "--only", "counts", "--sizes", "300", "--dims", "2"]
    command = [sys.executable, str(SCRIPTS / "bench.py"), *tiny, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "KDE + Fourier, 2-D" in done.stdout
    record = json.loads((tmp_path / "bench.json").read_text())
    assert {"cpu", "cores", "load_average", "versions"} <= record["machine"].keys()
    assert record["devices"]
    assert len(record["rows"]) == 3
    for row in record["rows"]:
        assert row["ratio"] == pytest.approx(row["diffopt_s"] / row["ours_s"])
    assert (tmp_path / "bench.png").stat().st_size > 0


def test_an_unknown_section_is_refused_with_those_there_are(tmp_path):
    command = [sys.executable, str(SCRIPTS / "bench.py"), "--only", "count"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "'count' is none of counts, fits" in done.stderr


def test_collectives_are_counted_with_their_bytes(collectives_of):
    """Also those of several results, and asynchronous ones once, where they start."""
    kinds, total = collectives_of(
        """
        %all-gather.1 = f32[8,3]{1,0} all-gather(%x), channel_id=1
        ROOT %all-reduce.2 = (f32[4]{0}, f64[]) all-reduce(%a, %b), to_apply=%add
        %start = f32[2]{0} all-reduce-start(%y), to_apply=%add
        %done = f32[2]{0} all-reduce-done(%start)
        %fusion = f32[100]{0} fusion(%all-gather.1), kind=kLoop
        """
    )
    assert dict(kinds) == {"all-gather": 1, "all-reduce": 2}
    assert total == 8 * 3 * 4 + (4 * 4 + 8) + 2 * 4
