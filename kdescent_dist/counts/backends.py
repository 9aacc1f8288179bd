"""The forms of the sums over samples x kernels behind one name, for one kind of hardware each."""

from collections.abc import Callable
from functools import partial
from typing import Any

from jax import lax

from kdescent_dist.config.validation import one_of
from kdescent_dist.counts.contraction import Form
from kdescent_dist.counts.fused import FusedForm
from kdescent_dist.counts.pallas import PallasForm
from kdescent_dist.counts.tiled import BlockedForm

# Which form a program takes that is compiled for a platform; "default" is all others.
_BY_PLATFORM: dict[str, dict[str, Form]] = {
    "auto": {"cpu": BlockedForm(), "default": FusedForm()},
    "blocked": {"default": BlockedForm()},
    "fused": {"default": FusedForm()},
    "pallas": {"cpu": PallasForm(interpret=True), "cuda": PallasForm(interpret=False)},
}


FORMS = tuple(_BY_PLATFORM)


def check_form(form: str, key: str = "form") -> None:
    """Raise an InputError unless ``form``, the value of a key, names one of the forms."""
    one_of(key, form, FORMS)


def in_form(form: str, function: Callable[..., Any], *args: Any) -> Any:
    """Evaluate ``function(form, *args)`` in the form of that name.

    The platform is that for which the program is compiled, not that of the process; of the forms
    of other platforms nothing is left in it.
    """
    branches = {p: partial(function, own) for p, own in _BY_PLATFORM[form].items()}
    if len(branches) == 1:
        return branches["default"](*args)
    return lax.platform_dependent(*args, **branches)
