"""A table in a file becomes columns and weights.

``sources`` finds the table, ``readers`` read ranges of its rows, ``plan`` finds the columns that
are needed, ``selection`` drops rows and derives columns by ``expressions``, ``partition`` shares
the rows out to processes. ``TrainingCatalog`` is what the rest of the program sees.
"""
