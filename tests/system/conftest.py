"""Fixtures of tests that start jobs on a SLURM."""

from support.slurm_fixtures import jobs, slurm, stub, stub_jobs, uninterrupted

__all__ = ["jobs", "slurm", "stub", "stub_jobs", "uninterrupted"]
