"""The wheel: complete, and its command works from any folder without the checkout."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.as_shipped

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with a source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Folder in which the wheel alone is installed."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(folder), str(wheel)], check=True)
    return folder


def run(installed, folder, *command):
    """Run a command in ``folder`` with the installed wheel ahead of the checkout."""
    environment = os.environ | {"PYTHONPATH": str(installed), "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def files_below(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(ROOT)) for p in paths if "__pycache__" not in p.parts}


def test_the_wheel_holds_every_file_of_the_package_and_the_configs(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert files_below(ROOT / "kdescent_dist") <= names
    assert {f"kdescent_dist/{name}" for name in files_below(ROOT / "conf")} <= names
    assert {"kdescent_dist/sample_data/dc2.hdf5", "kdescent_dist/conf/config.yaml"} <= names


def test_the_wheel_holds_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"kdescent_dist"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_the_source_distribution_holds_what_tests_and_scripts_need(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"scripts/run", "scripts/test", "scripts/constraints.txt", "LICENSE"} <= names
    assert "docs/benchmarks.md" in names
    assert files_below(ROOT / "tests") <= names


def test_the_license_of_the_sample_data_goes_with_it(installed):
    text = (installed / "kdescent_dist" / "sample_data" / "README.md").read_text()
    assert "Copyright (c) 2023 LSST Dark Energy Science Collaboration (DESC)" in text
    assert "Permission is hereby granted, free of charge" in text


def test_the_sample_is_read_from_the_installed_wheel(installed, tmp_path):
    program = (
        "import kdescent_dist; from kdescent_dist.catalogs.catalog import load_catalog; "
        "from kdescent_dist.config.compose import CatalogConfig; "
        "catalog = load_catalog(CatalogConfig(path='sample:dc2'), required=['redshift']); "
        "print(kdescent_dist.__file__, len(catalog))"
    )
    result = run(installed, tmp_path, sys.executable, "-c", program)
    assert result.stdout.split() == [str(installed / "kdescent_dist" / "__init__.py"), "10225"]


def test_the_installed_command_prints_its_packaged_config(installed, tmp_path):
    result = run(installed, tmp_path, str(installed / "bin" / "kdescent-dist"), "--cfg", "job")
    assert result.returncode == 0, result.stderr
    config = yaml.safe_load(result.stdout)
    assert config["name"] == "quickstart"
    assert config["parameters"]
    assert list(tmp_path.iterdir()) == []


def test_the_installed_command_explains_itself(installed, tmp_path):
    result = run(installed, tmp_path, str(installed / "bin" / "kdescent-dist"), "--help")
    assert result.returncode == 0, result.stderr
    assert "experiment" in result.stdout
