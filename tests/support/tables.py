"""Tables of files, and the optional libraries that read them."""

import importlib
import os

import pytest

from kdescent_dist.catalogs.readers import FileTable


def optional(name):
    """An optional library; under CI its absence is a failure instead of a skip."""
    return importlib.import_module(name) if os.environ.get("CI") else pytest.importorskip(name)


def read(path, *names, format=None, group=None):
    with FileTable(path, format=format, group=group, key="catalog") as table:
        wanted = names or tuple(table.names)
        return table.read(wanted, 0, max(table.lengths(wanted).values()))
