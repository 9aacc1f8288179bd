"""What a fit descends, whatever its loss is made of."""

from typing import Any, Protocol

import jax


class Objective(Protocol):
    """What ``fit`` needs: arrays, and the loss and gradient at parameters (parameters,)."""

    @property
    def data(self) -> Any: ...

    @property
    def mesh(self) -> jax.sharding.Mesh | None: ...

    @property
    def identity(self) -> dict[str, Any]: ...

    def value_and_grad(
        self, params: jax.Array, key: jax.Array, data: Any
    ) -> tuple[jax.Array, jax.Array]: ...
