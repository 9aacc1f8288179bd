"""The config of a run: composed and resolved with OmegaConf, and kept in ``config.yaml``.

The library takes the dataclasses of ``schema`` directly. The command line fills them from YAML
files and overrides, so that unknown keys and wrong types are rejected before anything runs.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from kdescent_dist.config.errors import InputError, closest
from kdescent_dist.config.knobs import knobs
from kdescent_dist.config.problem import SCHEMA, add_implied
from kdescent_dist.config.renamed import rename_keys, renamed_of
from kdescent_dist.config.schema import BinsConfig, CatalogConfig, Config, ParameterConfig

_SCHEMA_KEY = "schema_version"  # in config.yaml
_DIGEST = "# sha256 of the lines above: "

# Keys that the command line may fill with or without a plus sign.
FREE = tuple(key for key, rules in knobs(Config) if rules.free)
# Overrides with expressions of columns: Hydra cannot parse most expressions.
_EXPRESSIONS = [re.escape(key) for key, rules in knobs(Config) if rules.expression]
EXPRESSION = re.compile(rf"\+{{0,2}}({'|'.join(_EXPRESSIONS)})(\.[^=]+)?=")


def schema(overrides: Iterable[str] = ()) -> DictConfig:
    """The typed defaults into which Hydra merges files and overrides.

    Args:
        overrides: the command line. Hydra cannot set a single key (``+bins.NAME.columns``) of a
            missing entry in a dict of dataclasses, so the defaults include the bins and parameters
            that the command line adds.

    Returns:
        The defaults. Unset mappings are empty, not null, so that an override can set single keys;
        ``from_omegaconf`` replaces empty mappings by None.
    """
    config = Config()
    config.catalog.make, config.loss.custom, config.loss.extra_sums = {}, {}, {}
    config.input.catalog = CatalogConfig(make={})
    for override in overrides:
        if added := re.match(r"\+\+?(bins|parameters)\.([^.=]+)[.=]", override):
            group, name = added.groups()
            if group == "bins":
                config.bins[name] = BinsConfig()
            else:
                config.parameters[name] = ParameterConfig()
    node = OmegaConf.structured(config)
    for key in FREE:
        OmegaConf.set_struct(OmegaConf.select(node, key), False)
    return node


def from_omegaconf(node: Any) -> Config:
    """Resolve a composed OmegaConf node into a ``Config``, without checks of the values.

    Raises:
        InputError: an unknown key, a wrong type, or a missing value.
    """
    try:
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), node))
    except OmegaConfBaseException as error:
        raise InputError(explain(error)) from error
    assert isinstance(config, Config)
    _refuse_unknown(config)
    _empty_to_none(config)
    return config


def _refuse_unknown(part: Any, prefix: str = "") -> None:
    """Refuse keys that a plus sign has added and that the schema does not have."""
    if isinstance(part, dict):
        items = part
    elif is_dataclass(part):
        items, known = vars(part), [field.name for field in fields(part)]
        for name in items:
            if name not in known:
                hint = closest(name, known, renamed_of(prefix.rstrip(".")))
                raise InputError(f"{prefix}{name}: there is no such key; {hint}")
    else:
        return
    for name, value in items.items():
        _refuse_unknown(value, f"{prefix}{name}.")


def _empty_to_none(config: Config) -> None:
    config.loss.custom = config.loss.custom or None
    config.loss.extra_sums = config.loss.extra_sums or None
    config.catalog.make = config.catalog.make or None
    if config.input.catalog is not None:
        config.input.catalog.make = config.input.catalog.make or None
        if config.input.catalog == CatalogConfig():
            config.input.catalog = None


def to_yaml(config: Config) -> str:
    """The text of ``config.yaml``: version of the schema, all keys, SHA-256 of the lines before."""
    text = f"{_SCHEMA_KEY}: {SCHEMA}\n{OmegaConf.to_yaml(OmegaConf.structured(config))}"
    return f"{text}{_DIGEST}{_sha256(text)}\n"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read_config(file: Path) -> tuple[Config, str]:
    """Read a ``config.yaml``, and return the config and the text.

    Raises:
        InputError: the file cannot be read; names the file and a remedy.
    """
    try:
        text = file.read_text()
        return from_yaml(text), text
    except (InputError, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} cannot be read: {error}. Bring it back from a copy, or choose another run_dir"
        ) from error


def from_yaml(text: str) -> Config:
    """The config from the text of a ``config.yaml`` of this or an earlier version.

    Raises:
        InputError: the text is damaged, or of a later version.
    """
    try:
        tree: Any = OmegaConf.to_container(OmegaConf.create(text))
    except Exception as error:  # OmegaConf raises many types for a damaged text
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"it is no config: {reason}") from error
    if not isinstance(tree, dict):
        raise InputError("it is no config")
    schema = tree.pop(_SCHEMA_KEY, 1)
    if schema not in range(1, SCHEMA + 1):
        raise InputError(f"{_SCHEMA_KEY}: {schema}: it was written by a later version")
    above, _, digest = text.rpartition(_DIGEST)
    if schema > 1 and digest.strip() != _sha256(above):
        raise InputError("it was cut or changed since the run has written it")
    rename_keys(tree)
    return from_omegaconf(OmegaConf.create(add_implied(tree, schema)))


def explain(error: OmegaConfBaseException) -> str:
    """One line that names the key, the fault, and a remedy or the nearest valid names."""
    key = error.full_key or ""
    if isinstance(error, ConfigAttributeError | ConfigKeyError) and error.parent_node is not None:
        known = [str(name) for name in error.parent_node]  # type: ignore[union-attr]
        if not known:
            return f"{key}: there is no such key yet: to add it, write +{key}"
        section, _, name = key.rpartition(".")
        return f"{key}: there is no such key; {closest(name, known, renamed_of(section))}"
    message = str(error.msg or error).splitlines()[0]
    if "missing mandatory value" in message:
        message = "is missing: give it a value"
    elif "is not a ListConfig" in message:
        message = "must be a list, such as [a, b]"
    elif message.startswith("Cannot merge DictConfig with"):
        message = f"a list cannot become a mapping, nor a mapping a list: first remove it by ~{key}"
    return f"{key}: {message}" if key else message
