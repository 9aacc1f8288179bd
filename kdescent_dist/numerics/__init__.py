"""Arithmetic that is fast, or has the same bits everywhere.

``exact_sums`` adds over processes in any order to the same bits. ``tiles`` and ``vector_math``
keep the vector registers of a CPU busy. ``inline_linalg``, ``prng``, ``threefry``, ``xla_order``
and ``dataflow`` look inside JAX for speed on CPUs, ``without_library`` for speed on GPUs.
``arrays`` checks the arrays that a user gives.
"""
