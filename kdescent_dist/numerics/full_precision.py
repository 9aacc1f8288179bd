"""Full precision of products of matrices, also in a user's model.

By default, NVIDIA GPUs from Ampere on round the factors of a product of matrices in single
precision to TF32, which keeps ten bits of the mantissa. Counts and gradients would then be wrong by
some 1e-3. JAX fixes the precision of a product where it traces the product, and the product in its
derivative has the same. CPUs do not round factors.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

MATMUL_PRECISION = "jax_default_matmul_precision"  # of ``jax.config``


@contextmanager
def full_precision() -> Iterator[None]:
    """Products that are traced within have full precision; also a decorator of functions.

    A precision that the user has chosen, as by ``JAX_DEFAULT_MATMUL_PRECISION``, stays.
    """
    chosen: Any = getattr(jax.config, MATMUL_PRECISION)
    with jax.default_matmul_precision(chosen or "highest"):
        yield
