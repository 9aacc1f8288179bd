"""Readers of tables in files; only the needed columns and rows are read.

A new format is one file with a ``Reader`` and one line in ``registry.READERS``. Other packages add
formats by an entry point.
"""

from kdescent_dist.catalogs.readers.files import FileTable
from kdescent_dist.catalogs.readers.table import Columns, Reader, Table

__all__ = ["Columns", "FileTable", "Reader", "Table"]
