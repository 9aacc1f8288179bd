"""A table in a file becomes columns and weights.

``catalog.open_catalog`` runs all steps. ``sources`` finds the table, ``readers`` read ranges of its
rows, ``plan`` finds the needed columns, ``chunks`` cuts the table. ``selection`` drops rows of a
chunk and derives columns by ``expressions``; ``selected_part`` selects the chunks of a process.
``subsample`` draws some of the rows. ``partition`` returns selected rows, whichever process holds
them. ``regions`` tells which rows cluster. ``column_warnings`` tells of values that a fit would
suffer from. The rest of the program uses ``TrainingCatalog``.
"""

from kdescent_dist.catalogs.catalog import Catalog, load_catalog

__all__ = ["Catalog", "load_catalog"]
