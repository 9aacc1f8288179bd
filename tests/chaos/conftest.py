"""Fixtures of tests that start jobs on a SLURM."""

from support.slurm_fixtures import jobs, slurm, uninterrupted

__all__ = ["jobs", "slurm", "uninterrupted"]
