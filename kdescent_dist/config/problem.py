"""The keys of a config that make its problem, so that a resume can refuse another problem.

A run directory of any earlier version can be continued. Fingerprints and identities leave out keys
at their defaults, so that new keys change neither. A key that an old ``config.yaml`` lacks gets the
value that its version implied. In a fingerprint, a renamed key has its earlier name.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from kdescent_dist.config.knobs import knobs
from kdescent_dist.config.limits import limits_of
from kdescent_dist.config.priors import prior_of, within_supports
from kdescent_dist.config.renamed import earlier_name
from kdescent_dist.config.scales import scales_of
from kdescent_dist.config.schema import (
    MISSING,
    BinsConfig,
    CatalogConfig,
    Config,
    ParameterConfig,
)

SCHEMA = 6  # version of keys and defaults; a config.yaml without a version is of version 1


@dataclass(frozen=True)
class Change:
    """A key that was added, or got another default, after schema 1.

    Attributes:
        schema: the first version of the schema with the change.
        key: the dotted key, with ``*`` for the name of a bin or parameter.
        before: the value that earlier versions imply if their config.yaml lacks the key, or if the
            key is null there.
        added: True for a new key, False for another default.
    """

    schema: int
    key: str
    before: Any
    added: bool


CHANGES: tuple[Change, ...] = (
    Change(3, "optimizer._target_", before=None, added=True),
    Change(3, "optimizer.schedule_options", before={}, added=True),
    Change(3, "runtime.written_out", before=True, added=True),
    Change(3, "bins.*.statistics", before={}, added=True),
    Change(3, "parameters.*.fixed", before=False, added=True),
    # Null meant 1; since schema 5, it means the scale that follows from the size.
    Change(5, "parameters.*.scale", before=1.0, added=True),
    Change(5, "fit.bounds", before="arctan", added=True),
    Change(6, "bins.*.column_width", before="deviation", added=True),
    Change(6, "loss.errors", before="training", added=True),
    Change(6, "parameters.*.prior", before=None, added=True),
)

# Keys and whole sections that a resume may change.
RESUMABLE = tuple(key for key, rules in knobs(Config) if rules.resumable)


def problem(config: Config) -> dict[str, Any]:
    """Dotted keys to the values that determine the trajectory, which a resume may not change."""
    flat = flatten(asdict(config))
    free = list(RESUMABLE)
    if config.optimizer.schedule != "constant" and config.optimizer.decay_steps is None:
        free.remove("fit.steps")
    if config.mesh.kernel_blocks is not None:
        free.append("mesh.kernels")
    return {
        key: value
        for key, value in flat.items()
        if not any(key == f or key.startswith(f + ".") for f in free)
    }


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings into one mapping with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, name + ".")
        else:
            flat[name] = value
    return flat


def identity_of(config: Config, changes: Sequence[Change] = CHANGES) -> dict[str, Any]:
    """The values of the problem that differ from the values that schema 1 has or implies."""
    default = Config(
        parameters={name: ParameterConfig() for name in config.parameters},
        bins={name: BinsConfig() for name in config.bins},
    )
    if config.input.catalog is not None:
        default.input.catalog = CatalogConfig()
    defaults = flatten(asdict(default))
    for change in reversed(changes):
        defaults |= {key: change.before for key in defaults if fnmatchcase(key, change.key)}
    values = problem(config)
    for name, parameter in config.parameters.items():
        key, scale = f"parameters.{name}.scale", _scale_of(parameter)
        del values[key]
        if scale != 1:
            values[key] = scale
    values["loss.kind"] = config.loss.of_steps  # the finish has its own identity
    if not any(_is_bounded(one) for one in config.parameters.values()):
        del values["fit.bounds"]  # without bounds, all maps are the same
    return {
        key: value
        for key, value in values.items()
        if key not in defaults or _text(value) != _text(defaults[key])
    }


def _scale_of(parameter: ParameterConfig) -> float:
    guess = np.array([0.0 if parameter.guess == MISSING else parameter.guess], float)
    low, high = _limits_of(parameter)
    return float(scales_of([parameter.scale], guess, low, high, np.array([parameter.fixed]))[0])


def _is_bounded(parameter: ParameterConfig) -> bool:
    return not parameter.fixed and bool(np.isfinite(_limits_of(parameter)).any())


def _limits_of(parameter: ParameterConfig) -> tuple[np.ndarray, np.ndarray]:
    limits = limits_of([(parameter.low, parameter.high)], 1)
    return within_supports(*limits, [prior_of(parameter.prior, "prior")])


def implied_of(key: str) -> Any:
    """The value of a dotted key that an identity lacks; None for an unknown key."""
    for change in CHANGES:
        if fnmatchcase(key, change.key):
            return change.before
    return default_of(key)


def earlier_readings(config: Config) -> list[Config]:
    """The config as versions before schema 6, and before schema 5, would have read it."""
    bins = {name: replace(b, column_width="deviation") for name, b in config.bins.items()}
    before_6 = replace(config, bins=bins)
    named = config.parameters.items()
    parameters = {n: replace(p, scale=1.0 if p.scale is None else p.scale) for n, p in named}
    fit = replace(config.fit, bounds="arctan")
    return [before_6, replace(before_6, parameters=parameters, fit=fit)]


def default_of(key: str) -> Any:
    """The default of a dotted key, for any name of a bin or parameter; None for an unknown key."""
    sections = {"bins": BinsConfig, "parameters": ParameterConfig}
    first, _, rest = key.partition(".")
    if first in sections:
        return flatten(asdict(sections[first]())).get(rest.partition(".")[2])
    default = Config()
    default.input.catalog = CatalogConfig()
    return flatten(asdict(default)).get(key)


def bins_of_schema_1(config: BinsConfig, changes: Sequence[Change] = CHANGES) -> dict[str, Any]:
    """The values of a bin, without keys of later schemas at the values that schema 1 implies."""
    values = asdict(config)
    for change in changes:
        name = change.key.removeprefix("bins.*.")
        if change.added and values.get(name, not change.before) == change.before:
            del values[name]
    return values


def non_default(config: Any) -> dict[str, Any]:
    """The values of a schema dataclass that differ from the defaults, by dotted key.

    NumPy arrays, NumPy scalars and tuples become plain lists and numbers.
    """
    values, defaults = (flatten(_plain(asdict(one))) for one in (config, type(config)()))
    return {
        key: value
        for key, value in values.items()
        if key not in defaults or _text(value) != _text(defaults[key])
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def fingerprint(config: Config, changes: Sequence[Change] = CHANGES) -> str:
    """Ten hex digits that are equal for configs with the same ``identity_of``."""
    return _short(identity_of(config, changes))


def fingerprint_1(config: Config, changes: Sequence[Change] = CHANGES) -> str | None:
    """The fingerprint by schema 1, of all its keys; None if schema 1 cannot state the problem."""
    added = [change.key for change in changes if change.added]

    def is_new(key: str) -> bool:
        return any(fnmatchcase(key, pattern) for pattern in added)

    if any(is_new(key) for key in identity_of(config, changes)):
        return None
    return _short({key: value for key, value in problem(config).items() if not is_new(key)})


def _short(values: Mapping[str, Any]) -> str:
    # Names of schemas 1 to 3: existing run directories must keep their names.
    named = dict(earlier_name(key, value) for key, value in values.items())
    return hashlib.sha256(_text(named).encode()).hexdigest()[:10]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def add_implied(
    tree: dict[str, Any], schema: int, changes: Sequence[Change] = CHANGES
) -> dict[str, Any]:
    """Add the keys that a ``config.yaml`` lacks or has as null, as its version implies them.

    Args:
        tree: the nested config, changed in place.
        schema: the version of its keys.
        changes: the changes since schema 1, oldest first.

    Returns:
        The tree.
    """
    for change in changes:
        if change.schema > schema:
            _set_missing(tree, change.key.split("."), change.before)
    return tree


def _set_missing(tree: Any, path: Sequence[str], value: Any) -> None:
    if not isinstance(tree, dict):
        return
    name, *below = path
    if not below:
        if tree.get(name) is None:
            tree[name] = value
        return
    for key in list(tree) if name == "*" else [name]:
        _set_missing(tree.get(key), below, value)
