"""Tables in files, of which the needed columns and rows are read and nothing else."""

from kdescent_dist.catalogs.readers.files import FileTable
from kdescent_dist.catalogs.readers.table import Columns, Table

__all__ = ["Columns", "FileTable", "Table"]
