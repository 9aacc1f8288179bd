"""A survey's FITS table as it comes: vector columns, missing values, fluxes below 0, and text."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from support.command_line import call, flags_kept
from support.tables import optional

ROWS = 3000

MODEL = """
import jax
from kdescent_dist import Population


def colors(params, key, catalog):
    noise = jax.random.normal(key, catalog["m_i"].shape)
    g_r = params["mean"] + params["slope"] * (catalog["m_i"] - 20) + params["scatter"] * noise
    return Population({"g_r": g_r, "m_i": catalog["m_i"]})
"""

CONFIG = """
# @package _global_
name: survey
model: {_target_: survey_model.colors}
parameters:
  mean: {guess: 0.5}
  slope: {guess: 0.0}
  scatter: {guess: 0.5, low: 0.01, high: 2.0}
catalog:
  path: survey.fits
  group: PHOTO
  columns:
    m_i: 22.5 - 2.5*log10(MODELFLUX[3])
    g_r: 2.5*log10(MODELFLUX[2] / MODELFLUX[1])
  sentinel: {Z: [-99, -9], MODELFLUX: -99, NOBS: .nan}
  where: Z > 0.01 and m_i < 21.5 and CLASS == 'GALAXY' and NOBS > 0
  weights: 1 / COMPLETENESS
  drop_non_finite: true
input: {columns: [m_i]}
bins:
  color:
    columns: [g_r]
    edges: {m_i: [18.5, 20.0, 21.5]}
    kernels: 10
    fourier: 10
    pretrain_kernels: 60
    pretrain_fourier: 60
optimizer: {learning_rate: 0.05}
fit: {steps: 60, finish: none}
checkpoint: {every_seconds: null}
report: {enabled: false, errors: false}
runtime: {progress: false, compilation_cache: false}
"""


def survey():
    """The columns of a table, and which of its rows are good."""
    rng = np.random.default_rng(3)
    m_i = rng.uniform(18.0, 22.0, ROWS)
    g_r = 0.8 - 0.1 * (m_i - 20) + 0.1 * rng.normal(size=ROWS)
    magnitudes = np.stack([m_i + 2, m_i + 0.4 + g_r, m_i + 0.4, m_i, m_i - 0.2], axis=1)
    flux = 10 ** (-0.4 * (magnitudes - 22.5))
    z = rng.uniform(0.0, 0.8, ROWS)
    nobs = rng.integers(1, 9, ROWS)
    group = rng.permutation(ROWS)
    z[group[:40]], z[group[40:60]] = -99, -9
    flux[group[60:100], 3] = -99
    flux[group[100:130], 0] = -99  # an entry that is not used: the row stays
    flux[group[130:170], 1] = 0  # log10 of a ratio to zero, here and of a negative flux below
    flux[group[170:230], 2] *= -1
    nobs[group[230:260]] = -1
    kind = np.where(rng.uniform(size=ROWS) < 0.1, "STAR", "GALAXY")
    completeness = rng.uniform(0.5, 1.0, ROWS)
    columns = {"Z": z, "MODELFLUX": flux, "NOBS": nobs, "CLASS": kind, "COMPLETENESS": completeness}
    good = (z > 0.01) & (m_i < 21.5) & (kind == "GALAXY") & (nobs > 0)
    good[group[60:100]] = good[group[130:230]] = False
    return columns, good


def write(path: Path, columns) -> None:
    fits = optional("astropy.io.fits")
    photo = fits.BinTableHDU.from_columns(
        [
            fits.Column("THING_ID", "K", array=2**60 + np.arange(ROWS)),
            fits.Column("Z", "D", array=columns["Z"]),
            fits.Column("MODELFLUX", "5E", array=columns["MODELFLUX"]),
            fits.Column("NOBS", "I", array=columns["NOBS"], null=-1),
            fits.Column("CLASS", "8A", array=columns["CLASS"]),
            fits.Column("COMPLETENESS", "E", array=columns["COMPLETENESS"]),
        ],
        name="PHOTO",
    )
    other = fits.BinTableHDU.from_columns([fits.Column("PLATE", "J", array=[1, 2])], name="PLATES")
    fits.HDUList([fits.PrimaryHDU(), other, photo]).writeto(path)


@pytest.fixture
def command(monkeypatch, capfd, tmp_path):
    """Call the command on the survey; returns its exit code and what it wrote to stderr."""
    columns, _ = survey()
    write(tmp_path / "survey.fits", columns)
    (tmp_path / "survey_model.py").write_text(MODEL)
    (tmp_path / "my_conf" / "experiment").mkdir(parents=True)
    (tmp_path / "my_conf" / "experiment" / "survey.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)

    def of_survey(*overrides: str) -> tuple[int, str]:
        given = ["--config-dir", "my_conf", "experiment=survey", "run_dir=run", *overrides]
        return call(monkeypatch, *given), capfd.readouterr().err

    with flags_kept():
        yield of_survey


def test_a_survey_table_is_fitted_and_every_row_is_accounted_for(command, tmp_path):
    code, err = command()
    assert code == 0, err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    facts, (_, good) = result["catalog"], survey()
    assert facts["source"] == "survey.fits"
    assert facts["rows"] == good.sum()
    dropped = facts["dropped"]
    assert facts["rows"] + sum(dropped.values()) == ROWS
    assert dropped["Z is -99 (missing)"] == 40
    assert dropped["Z is -9 (missing)"] == 20
    assert dropped["MODELFLUX is -99 (missing)"] == 40
    assert dropped["NOBS is nan (missing)"] == 30
    assert 0 < dropped["g_r is not finite"] <= 100
    assert "rows left out: g_r is not finite" in (tmp_path / "run" / "log.txt").read_text()
    assert result["params"]["mean"] == pytest.approx(0.8, abs=0.1)


# What is asked of the catalog: (key, value, what the message says).
REFUSED = [
    ("columns.g_r", "MODELFLUXX[1]", r"columns\.g_r: no column 'MODELFLUXX' .*mean MODELFLUX\?"),
    ("columns.g_r", "modelflux[1]", r"columns\.g_r: no column 'modelflux' .*mean MODELFLUX\?"),
    ("where", "PLATE > 1", r"no column 'PLATE' in survey.fits: .*set catalog\.group=PLATES"),
    ("group", None, r"no column 'Z' in survey\.fits\[PLATES\]: .*set catalog\.group=PHOTO"),
    ("group", "PHOT", r"group=PHOT: no such table in survey\.fits: did you mean PHOTO\?"),
    ("columns.m_i", "MODELFLUX[5]", "MODELFLUX has 5 entries, counted from 0"),
    ("columns.m_i", "MODELFLUX", "5 entries in each row: name one of them"),
    ("columns.m_i", "CLASS", r"column 'CLASS' of survey\.fits is not numeric .*text.*'GALAXY'"),
    ("columns.m_i", "22.5 -", r"columns\.m_i: '22\.5 -' is not a valid expression"),
    ("columns.m_i", "log1(Z)", "an unknown function log1: did you mean log"),
    ("where", "Z > 5", "where=Z > 5: drops all 2900 rows that were left"),
    ("where", "CLASS", "column 'CLASS' of survey.fits is not numeric"),
    ("where", "Z == GALAXY", "where: no column 'GALAXY'"),
    ("weights", "-COMPLETENESS", r"weights: \d+ of \d+ rows are negative"),
    ("sentinel.Z", "none", r"sentinel\.Z=none: must be a number, or a list of numbers"),
    ("path", "survy.fits", r"path=survy\.fits: no such file: .*survey\.fits"),
    ("format", "hdf5", r"path=survey\.fits: cannot be read as hdf5"),
    ("format", "fit", r"format=fit: must be one of hdf5, parquet"),
    ("subsample", 99999, r"subsample=99999: must be between 1 and \d+, the rows that are left"),
    ("subsample_mode", "every", r"subsample_mode=every: must be one of random, stride"),
    ("drop_non_finite", False, r"rows have a NaN or infinite value \(g_r in \d+\): set catalog"),
]


@pytest.mark.parametrize(("key", "value", "message"), REFUSED)
def test_what_cannot_be_read_is_refused_with_code_2_and_one_message(command, key, value, message):
    text = "null" if value is None else f"'{value}'" if isinstance(value, str) else value
    code, err = command(f"catalog.{key}={text}")
    assert code == 2, err
    assert "Traceback" not in err
    (complaint,) = [line for line in err.splitlines() if line.startswith("kdescent-dist: ")]
    assert re.search(message, complaint), err
