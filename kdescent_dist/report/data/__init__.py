"""The files of a run, read into records: no model, no JAX."""
