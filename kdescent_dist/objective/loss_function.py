"""A loss that is a function of the parameters and a random key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from kdescent_dist.config.parameters import Parameters
from kdescent_dist.identity.code import describe_all
from kdescent_dist.identity.digests import digest, source_digest_1


@dataclass(frozen=True)
class LossObjective:
    """Any differentiable ``loss(params, randkey=key, **options)`` of the parameters.

    Attributes:
        loss: the function.
        options: keyword arguments of the loss. Arrays become arguments of the compiled program;
            other values become constants.
        with_key: whether the loss takes the key.
        mesh: devices that hold the state of the fit, by default the first device.
        parameters: parameters of a loss that takes a tree; None for a loss that takes a vector.
    """

    loss: Callable[..., jax.Array]
    options: Mapping[str, Any] = field(default_factory=dict)
    with_key: bool = True
    mesh: jax.sharding.Mesh | None = None
    parameters: Parameters | None = None

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of the parameters, None if the loss takes a vector."""
        return None if self.parameters is None else self.parameters.names

    @property
    def data(self) -> dict[str, Any]:
        return {name: value for name, value in self.options.items() if _is_arrays(value)}

    @property
    def identity(self) -> dict[str, Any]:
        """Digests and versions that a resumed fit compares."""
        return describe_all({"loss": self.loss, "options": dict(self.options)})

    @property
    def identity_before(self) -> dict[str, str]:
        """The identity in the form of checkpoints of format 2."""
        return {"loss": source_digest_1(self.loss), "options": digest(self.data)}

    @property
    def of_vector(self) -> Callable[..., jax.Array]:
        """The loss as a function of the parameter vector."""
        if self.parameters is None:
            return self.loss
        tree = self.parameters.tree
        return lambda params, **options: self.loss(tree.unflatten(params), **options)

    def value_and_grad(
        self, params: jax.Array, key: jax.Array, data: Any
    ) -> tuple[jax.Array, jax.Array]:
        keys = {"randkey": key} if self.with_key else {}
        return jax.value_and_grad(self.of_vector)(params, **keys, **{**self.options, **data})


def _is_arrays(value: Any) -> bool:
    leaves = jax.tree.leaves(value)
    return bool(leaves) and all(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves)
