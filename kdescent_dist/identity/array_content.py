"""Nodes of NumPy and JAX arrays for digests, by type, shape and values."""

import hashlib
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from kdescent_dist.identity.graph_digests import Node


def array_node(value: Any) -> Node:
    """The node of an array, a scalar or a random key of NumPy or JAX.

    For a traced array, or an array whose parts other processes hold, only type and shape count.
    """
    if not isinstance(value, jax.Array):
        return _numpy_node(value)
    if isinstance(value, jax.core.Tracer):
        return Node(f"traced {value.aval}")
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return Node(f"keys {jax.random.key_impl(value)}", [jax.random.key_data(value)])
    if not (value.is_fully_addressable or value.is_fully_replicated):
        return Node(f"shared array {value.dtype} {value.shape}")
    return Node(f"jax {'weak' if value.weak_type else ''}", [np.asarray(value)])


def _numpy_node(value: Any) -> Node:
    array = np.asarray(value)
    label = f"{type(value).__name__} {array.dtype} {array.shape}"
    if isinstance(value, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(value)
        return Node(f"masked {label}", [np.ma.getdata(value), mask, value.fill_value])
    children: list[Any] = []
    if array.dtype.fields:  # by field: the padding between fields is undefined
        children = [array[name] for name in array.dtype.names or ()]
    elif array.dtype.hasobject:  # also StringDType
        children = array.reshape(-1).tolist()
    elif array.dtype.char in "gG":  # the padding bytes of a long double are undefined
        label += " ".join(map(repr, array.reshape(-1)))
    elif array.nbytes:
        bits = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        label += hashlib.sha256(bits.data).hexdigest()
    if type(value) is not np.memmap and (attributes := getattr(value, "__dict__", None)):
        children.append(attributes)
    return Node(label, children)
