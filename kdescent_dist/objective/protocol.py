"""The interface of all objectives of a fit."""

from typing import Any, Protocol

import jax


class Objective(Protocol):
    """What ``fit`` needs: arrays, and loss and gradient (parameters,) at ``params``."""

    @property
    def data(self) -> Any: ...

    @property
    def mesh(self) -> jax.sharding.Mesh | None: ...

    @property
    def identity(self) -> dict[str, Any]: ...

    def value_and_grad(
        self, params: jax.Array, key: jax.Array, data: Any
    ) -> tuple[jax.Array, jax.Array]: ...
