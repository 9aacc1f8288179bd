"""Tables in files, of which the needed columns and rows are read and nothing else.

A new format is one file with a ``Reader``, and one line in ``registry.READERS``; another package
adds a format by an entry point.
"""

from kdescent_dist.catalogs.readers.files import FileTable
from kdescent_dist.catalogs.readers.table import Columns, Reader, Table

__all__ = ["Columns", "FileTable", "Reader", "Table"]
