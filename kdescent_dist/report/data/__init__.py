"""Reads the files of a run into records, without the model and without JAX."""
