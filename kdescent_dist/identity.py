"""Digests that tell whether something is as before: arrays, and the source of functions."""

import functools
import hashlib
import inspect
from collections.abc import Callable
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


def source_digest(function: Callable[..., Any] | None) -> str:
    """A short digest of the module that defines a function, and of the arguments bound to it.

    A function that was typed in, or whose module is the script that runs, is told by its own
    source alone, as is one without a source by its name.
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
