"""Digests of arrays, and the digest of functions in old checkpoints."""

import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def digest(tree: Any) -> str:
    """SHA-256 of the paths, types, shapes and bytes of the leaves of a pytree of arrays."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.ascontiguousarray(leaf)
        sha.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        sha.update(array.reshape(-1).view(np.uint8).data)  # no copy: a catalog may be large
    return sha.hexdigest()


def block_digests(columns: Mapping[str, np.ndarray], block_size: int) -> np.ndarray:
    """SHA-256 of the names, types and values of each block of rows, (blocks, 32) bytes.

    Args:
        columns: names to (n, ...) arrays of equal length; their order does not matter.
        block_size: number of rows of a block; the last block may be shorter.
    """
    rows = len(next(iter(columns.values()), ()))
    digests = np.zeros((-(-rows // block_size), 32), np.uint8)
    for b, row in enumerate(digests):
        block = slice(b * block_size, (b + 1) * block_size)
        sha = hashlib.sha256()
        for name in sorted(columns):
            array = np.ascontiguousarray(columns[name][block])
            sha.update(f"{name!r} {array.dtype} {array.shape}".encode())
            sha.update(array.reshape(-1).view(np.uint8).data)
        row[:] = np.frombuffer(sha.digest(), np.uint8)
    return digests


def combined(digests: np.ndarray) -> str:
    """SHA-256 of all blocks, whichever process digested which block.

    Args:
        digests: (..., 32) digests of all blocks in order, from ``block_digests``; rows of zeros,
            which pad shorter shares, do not count.
    """
    rows = digests.reshape(-1, digests.shape[-1])
    return hashlib.sha256(rows[rows.any(axis=1)].tobytes()).hexdigest()


def source_digest_1(function: Callable[..., Any] | None) -> str:
    """A short digest of the module that defines a function, and of its bound arguments.

    This is scheme 1 of old runs, kept so that they can be continued. For a function of an
    interactive session or of the running script, only the function's own source counts; for a
    function without source, its name.
    """
    if function is None:
        return "none"
    bound = ""
    while isinstance(function, functools.partial):
        bound += repr((function.args, sorted(function.keywords.items())))
        function = function.func
    module = inspect.getmodule(function)
    file = getattr(module, "__file__", None)
    try:
        if file and getattr(module, "__name__", "") != "__main__":
            source = Path(file).read_text()
        else:
            source = inspect.getsource(function)
    except (OSError, TypeError):
        source = getattr(function, "__qualname__", type(function).__qualname__)
    return hashlib.sha256((bound + source).encode()).hexdigest()[:16]
