"""Readers of this package, and readers that other packages add by an entry point."""

import sys

import numpy as np
import pytest

from kdescent_dist.catalogs.catalog import load_catalog
from kdescent_dist.catalogs.readers.registry import READERS, find_reader
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import CatalogConfig

READER = """
import numpy as np
from kdescent_dist.catalogs.readers import Reader

class {name}(Reader):
    format = "{format}"
    suffixes = (".words",)
    takes_folder = {folder}

    def __init__(self, path, group, key):
        path = path / "rows" if path.is_dir() else path
        rows = [line.split() for line in path.read_text().splitlines()]
        self.names = rows[0]
        self._values = np.array(rows[1:], float)

    def lengths(self, names):
        return dict.fromkeys(names, len(self._values))

    def read(self, names, first, last):
        return {{n: self._values[first:last, self.names.index(n)] for n in names}}

    def close(self):
        pass
"""
ROWS = "x y\n1 10\n2 20\n4 40\n"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a package with a reader on the search path; returns its module's name."""
    numbers = iter(range(100))

    def installed(target="Words", *, format="words", name="Words", folder=False, text=READER):
        module = f"words_{next(numbers)}_{abs(hash(tmp_path))}"
        site = tmp_path / "sites" / module
        info = site / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        group = f"[kdescent_dist.readers]\nwords = {module}:{target}\n"
        (info / "entry_points.txt").write_text(group)
        code = text.format(name=name, format=format, folder=folder)
        (site / f"{module}.py").write_text(code)
        monkeypatch.syspath_prepend(str(site))
        return module

    return installed


def written(folder, name="table.words"):
    (folder / name).write_text(ROWS)
    return str(folder / name)


def load(path, **options):
    return load_catalog(CatalogConfig(path=path, **options), required=["x", "y"])


@pytest.mark.parametrize("format", [None, "words"])
def test_another_package_adds_a_format(tmp_path, install, format):
    install()
    name = "table.words" if format is None else "table.dat"
    catalog = load(written(tmp_path, name), format=format, where="x > 1")
    assert catalog.columns["y"].tolist() == [20, 40]


def test_a_reader_of_another_package_may_take_folders(tmp_path, install):
    (tmp_path / "table.words").mkdir()
    written(tmp_path / "table.words", "rows")
    path = str(tmp_path / "table.words")
    install(folder=True)
    assert load(path).columns["x"].tolist() == [1, 2, 4]


def test_a_folder_is_parquet_where_no_other_reader_takes_it(tmp_path, install):
    (tmp_path / "table.words").mkdir()
    with pytest.raises(InputError, match=r"holds no files named \*\.parquet"):
        load(str(tmp_path / "table.words"))
    install()
    with pytest.raises(InputError, match=r"holds no files named \*\.parquet"):
        load(str(tmp_path / "table.words"))
    with pytest.raises(InputError, match="is a folder, not a file of format words"):
        load(str(tmp_path / "table.words"), format="words")


def test_what_the_reader_cannot_do_is_refused(tmp_path, install):
    install()
    with pytest.raises(InputError, match=r"catalog\.group=a: a words file has no groups"):
        load(written(tmp_path), group="a")
    (tmp_path / "bad.words").write_text("x y\n1 one\n")
    with pytest.raises(InputError, match=r"cannot be read as words: could not convert string"):
        load(str(tmp_path / "bad.words"))


def test_a_reader_is_imported_only_when_it_is_needed(tmp_path, install):
    module = install()
    np.savez(tmp_path / "table.npz", x=np.arange(3.0), y=np.arange(3.0))
    load(str(tmp_path / "table.npz"))
    with pytest.raises(InputError, match=r"format=xls: must be one of hdf5, .*, csv, words"):
        load(str(tmp_path / "table.npz"), format="xls")
    assert module not in sys.modules
    load(written(tmp_path))
    assert module in sys.modules


BROKEN = {
    "no such module": ({"text": "import no_such_library"}, "ModuleNotFoundError: No module named"),
    "no such class": ({"target": "Other"}, "AttributeError: .*Other"),
    "no reader": ({"target": "np"}, "is no class that derives from Reader"),
    "another name": ({"format": "text"}, "must have the name of its entry point as its format"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("format", [None, "words"])
def test_a_broken_reader_names_its_package(tmp_path, install, case, format):
    options, reason = BROKEN[case]
    module = install(**options)
    match = rf"catalog\.format: the reader words of the package {module} .*{reason}"
    with pytest.raises(InputError, match=match):
        load(written(tmp_path), format=format)


def test_a_broken_reader_does_not_hide_another_one(tmp_path, install, caplog):
    module = install(text="import no_such_library")
    install()
    assert len(load(written(tmp_path))) == 3
    (tmp_path / "table.v2").mkdir()
    with pytest.raises(InputError, match=r"holds no files named \*\.parquet"):
        load(str(tmp_path / "table.v2"))
    assert f"the package {module}" in caplog.text


def test_formats_and_suffixes_of_this_package_tell_its_readers_apart(tmp_path):
    suffixes = [suffix for reader in READERS for suffix in reader.suffixes]
    formats = [reader.format for reader in READERS]
    assert len(set(suffixes)) == len(suffixes)
    assert len(set(formats)) == len(formats)
    for reader in READERS:
        for suffix in reader.suffixes:
            path = tmp_path / f"Table{suffix.upper()}"
            path.touch()
            assert find_reader(path, None, "catalog") is reader
