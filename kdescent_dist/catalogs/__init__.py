"""A table in a file becomes columns and weights.

``catalog.open_catalog`` goes through the steps. ``sources`` finds the table, ``readers`` read
ranges of its rows, ``plan`` finds the columns that are needed, ``chunks`` cuts the table.
``selection`` drops rows of a chunk and derives columns by ``expressions``, ``selected_part`` does
that for the chunks of a process. ``subsample`` draws some of the rows. ``partition`` hands out the
rows that are left, whichever process holds them. ``TrainingCatalog`` is what the rest of the
program sees.
"""

from kdescent_dist.catalogs.catalog import Catalog, load_catalog

__all__ = ["Catalog", "load_catalog"]
