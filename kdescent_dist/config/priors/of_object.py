"""A prior that is an object of another library, such as ``numpyro.distributions.Beta``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kdescent_dist.config.dotted_path import call_target, import_target
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.priors.prior import Prior

METHODS = ("log_prob", "log_pdf")


@dataclass(frozen=True)
class ObjectPrior(Prior):
    """An object with a method ``log_prob(x)`` or ``log_pdf(x)``, which JAX can trace.

    The object of a config is made at its first use: its library may use devices.

    Attributes:
        spec: ``{_target_: dotted path, ...}`` of a function or class; empty for a given object.
        key: the config key of ``spec``, for messages.
        given: the object, if there is no ``spec``.
    """

    spec: Mapping[str, Any]
    key: str = field(compare=False)
    given: Any = None
    name = "_target_"

    @cached_property
    def distribution(self) -> Any:
        """The object.

        Raises:
            InputError: the object cannot be made, or has no such method.
        """
        made = self.given
        if self.spec:
            try:
                made = call_target(self.spec, self.key)
            except InputError:
                raise
            except Exception as error:  # of the other library
                raise InputError(f"{self.key}: {type(error).__name__}: {error}") from error
        if not any(callable(getattr(made, name, None)) for name in METHODS):
            raise InputError(
                f"{self.key}: {type(made).__name__} has no method {' or '.join(METHODS)}"
            )
        return made

    def log_prob(self, x: Any, xp: Any) -> Any:
        own = next(name for name in METHODS if hasattr(self.distribution, name))
        return getattr(self.distribution, own)(x)

    @property
    def code(self) -> Any:
        if not self.spec:
            return self.given
        return import_target(self.spec["_target_"], f"{self.key}._target_")

    def to_config(self) -> dict[str, Any]:
        kind = type(self.given)
        return dict(self.spec) or {"_target_": f"{kind.__module__}.{kind.__qualname__}"}
