"""Linear maps with a hand-written transpose, in a primitive that all JAX transformations accept.

A derivative is a linear map from tangents to tangents. Its transpose pulls cotangents back, and a
hand-written reverse pass is such a transpose. JAX has no public function that takes both:
``jax.custom_vjp`` has no forward mode. Hence the primitive.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import ClosedJaxpr, Primitive, unmapped_aval
from jax.interpreters import ad, batching, mlir
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Arrays = list[jax.Array]


class LinearMap(Protocol):
    """A map of tangents that depends on a point. Maps compare and hash by value."""

    @property
    def mesh(self) -> Mesh | None:
        """The mesh over which the map is computed, if any."""
        ...

    def forward(self, point: Arrays, tangents: Arrays) -> Arrays:
        """Map tangents, in operations that JAX can differentiate with respect to the point."""
        ...

    def backward(self, point: Arrays, cotangents: Arrays) -> Arrays:
        """Pull the cotangents of the results back: one cotangent per tangent."""
        ...


def apply_linear(of: LinearMap, point: Arrays, tangents: Arrays, results: Arrays) -> Arrays:
    """Map tangents at a point.

    Args:
        of: the map.
        point: arrays of any type.
        tangents: at least one array of floating-point numbers.
        results: arrays with the shapes and types of the mapped tangents.
    """
    types = tuple(jax.typeof(result) for result in results)
    devices = of.mesh and _marked(of.mesh)
    return _linear.bind(*point, *tangents, of=of, size=len(point), types=types, devices=devices)


def mesh_among(options: Sequence[Any]) -> Mesh | None:
    """The first mesh among the options and their attributes ``mesh``, if any."""
    meshes = (o if isinstance(o, Mesh) else getattr(o, "mesh", None) for o in options)
    return next((mesh for mesh in meshes if mesh is not None), None)


@lru_cache
def _marked(mesh: Mesh) -> ClosedJaxpr:
    """A program on a mesh, for the parameters of the primitive.

    ``jax.jit`` looks for devices in programs among the parameters. It cannot see the devices in
    the code that the primitive is lowered to later.
    """
    placed = jax.jit(lambda a: a, out_shardings=NamedSharding(mesh, PartitionSpec()))
    return jax.make_jaxpr(placed)(0.0)


def tangents_of(
    function: Callable[[Arrays], Arrays], arrays: Arrays, tangents: Sequence[jax.Array | None]
) -> Arrays:
    """Tangents of the results of a function of arrays; the tangent None marks a constant array."""
    moving = [i for i, tangent in enumerate(tangents) if tangent is not None]

    def of_moving(*moved: jax.Array) -> Arrays:
        filled = list(arrays)
        for i, array in zip(moving, moved, strict=True):
            filled[i] = array
        return function(filled)

    given = [tangent for tangent in tangents if tangent is not None]
    return jax.jvp(of_moving, [arrays[i] for i in moving], given)[1]


def moving_tangents(tangents: Sequence[Any]) -> list[jax.Array | None]:
    """The tangents given to a JVP rule, None for a symbolic zero or an integer array."""
    at_rest = [isinstance(t, SymbolicZero) or t.dtype == jax.dtypes.float0 for t in tangents]
    return [None if rests else t for t, rests in zip(tangents, at_rest, strict=True)]


@dataclass(frozen=True)
class _Batched:
    """A map under ``jax.vmap``: of many tangents, or at many points.

    Attributes:
        of: the map without ``vmap``.
        number: size of the mapped axis.
        points, tangents: for each array, whether the array has the mapped axis.
    """

    of: LinearMap
    number: int
    points: tuple[bool, ...]
    tangents: tuple[bool, ...]

    @property
    def mesh(self) -> Mesh | None:
        return self.of.mesh

    def forward(self, point: Arrays, tangents: Arrays) -> Arrays:
        axes = (_axes(self.points), _axes(self.tangents))
        return jax.vmap(self.of.forward, axes, axis_size=self.number)(point, tangents)

    def backward(self, point: Arrays, cotangents: Arrays) -> Arrays:
        axes = (_axes(self.points), 0)
        pulled = jax.vmap(self.of.backward, axes, axis_size=self.number)(point, cotangents)
        return [
            rows if many else jnp.sum(rows, axis=0)
            for rows, many in zip(pulled, self.tangents, strict=True)
        ]


def _axes(many: Sequence[bool]) -> list[int | None]:
    return [0 if rows else None for rows in many]


def _evaluate(*arrays: jax.Array, of: LinearMap, size: int, **_: Any) -> Arrays:
    return of.forward(list(arrays[:size]), list(arrays[size:]))


@partial(jax.jit, static_argnames=("of", "size", "types", "devices"))
def _compiled(*arrays: jax.Array, **given: Any) -> Arrays:
    return _evaluate(*arrays, **given)


def _differentiate(primals: Any, tangents: Any, *, of: LinearMap, size: int, **given: Any) -> Any:
    bind = partial(_linear.bind, of=of, size=size, **given)
    point, mapped = list(primals[:size]), list(primals[size:])
    at_rest = [isinstance(tangent, ad.Zero) for tangent in tangents]
    changes = []
    if not all(at_rest[size:]):
        changes.append(bind(*point, *map(ad.instantiate_zeros, tangents[size:])))
    if not all(at_rest[:size]):
        moved = [None if rests else t for t, rests in zip(tangents, at_rest, strict=True)][:size]
        changes.append(tangents_of(lambda point: of.forward(point, mapped), point, moved))
    return bind(*primals), [sum(parts[1:], parts[0]) for parts in zip(*changes, strict=True)]


def _transpose(cotangents: Any, *arrays: Any, of: LinearMap, size: int, **_: Any) -> list[Any]:
    pulled = of.backward(list(arrays[:size]), [ad.instantiate_zeros(c) for c in cotangents])
    wanted = [ad.is_undefined_primal(array) for array in arrays[size:]]
    return [None] * size + [p if asked else None for p, asked in zip(pulled, wanted, strict=True)]


def _batch(
    arrays: Any, dims: Any, *, of: LinearMap, size: int, types: Any, devices: Any
) -> tuple[Arrays, list[int]]:
    rows = [a if d is None else jnp.moveaxis(a, d, 0) for a, d in zip(arrays, dims, strict=True)]
    many = tuple(d is not None for d in dims)
    number = next(len(a) for a, mapped in zip(rows, many, strict=True) if mapped)
    batched = _Batched(of, number, many[:size], many[size:])
    wide = tuple(unmapped_aval(number, 0, aval) for aval in types)
    results = _linear.bind(*rows, of=batched, size=size, types=wide, devices=devices)
    return results, [0] * len(results)


_linear = Primitive("linear_map")
_linear.multiple_results = True
_linear.def_impl(_compiled)
_linear.def_abstract_eval(lambda *_, types, **__: list(types))
ad.primitive_jvps[_linear] = _differentiate
ad.primitive_transposes[_linear] = _transpose
batching.primitive_batchers[_linear] = _batch
mlir.register_lowering(_linear, mlir.lower_fun(_evaluate, multiple_results=True))
