"""Full precision of products of matrices, also in a user's model.

By default, NVIDIA GPUs from Ampere on round the factors of a product of matrices in single
precision to TF32, which keeps ten bits of the mantissa. Counts and gradients would then be wrong by
some 1e-3. JAX fixes the precision of a product where it traces the product, and the product in its
derivative has the same. CPUs do not round factors.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jax

P = ParamSpec("P")
T = TypeVar("T")

MATMUL_PRECISION = "jax_default_matmul_precision"  # of ``jax.config``


@contextmanager
def full_precision() -> Iterator[None]:
    """Products that are traced here have full precision.

    A precision that the user has chosen, as by ``JAX_DEFAULT_MATMUL_PRECISION``, stays.
    """
    chosen: Any = getattr(jax.config, MATMUL_PRECISION)
    with jax.default_matmul_precision(chosen or "highest"):
        yield


def in_full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """The function, traced with ``full_precision``."""

    @wraps(function)
    def traced(*args: P.args, **kwargs: P.kwargs) -> T:
        with full_precision():
            return function(*args, **kwargs)

    return traced
