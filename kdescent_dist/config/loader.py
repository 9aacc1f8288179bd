"""Lets Hydra load a config whose keys have the names of earlier versions."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from hydra._internal import hydra as hydra_main
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.renamed import RENAMED, begins, rename_keys

_SECTIONS = {one.old.split(".")[0] for one in RENAMED}
_OVERRIDE = re.compile(r"(\+{0,2}|~)([\w.]+)(=?)(.*)", re.DOTALL)


def accept_old_keys(tell: Callable[[str], None]) -> None:
    """Let Hydra accept the earlier names of keys.

    Hydra has no hook for loading a file, so this function replaces the class of its loader.

    Args:
        tell: called once with each line about an earlier name.
    """
    hydra_main.ConfigLoaderImpl = partial(Loader, tell)  # type: ignore[assignment]


class Loader(ConfigLoaderImpl):
    """Renames keys in files and overrides to their present names before Hydra merges them.

    So the last value of a key wins under either name: a file with ``loss.statistic`` overrides
    ``loss.kind`` of a shipped experiment.
    """

    def __init__(self, tell: Callable[[str], None], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._tell = tell
        self._told: set[str] = set()

    def load_configuration(
        self, config_name: str | None, overrides: list[str], *args: Any, **options: Any
    ) -> DictConfig:
        overrides, lines = rename_overrides(overrides)
        self._tell_once(lines)
        return super().load_configuration(config_name, overrides, *args, **options)

    def _load_single_config(self, default: Any, repo: Any) -> Any:
        found = super()._load_single_config(default, repo)
        if isinstance(found.config, DictConfig):
            self._tell_once(_rename_in_file(found.config))
        return found

    def _tell_once(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line not in self._told:
                self._told.add(line)
                self._tell(line)


def _rename_in_file(node: DictConfig) -> list[str]:
    tree: Any = OmegaConf.to_container(node, resolve=False)
    lines = rename_keys(tree)
    for section in _SECTIONS & tree.keys() if lines else ():
        node[section] = tree[section]
    return lines


def rename_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Rename the keys of command-line overrides to their present names.

    Returns:
        The overrides, and a line for the user about each earlier name.

    Raises:
        InputError: an earlier and a present name are both given, with different values.
    """
    found, lines = [], []
    given: dict[str, tuple[str, str, bool]] = {}
    for override in overrides:
        renamed, told = _rename(override)
        key, _, value = renamed.lstrip("+~").partition("=")
        old = key != override.lstrip("+~").partition("=")[0]
        first, known, before = given.setdefault(key, (override, value, old))
        if value != known and before != old:
            raise InputError(f"{first} and {override} are one key: remove the one of the old name")
        found.append(renamed)
        lines += told
    return found, lines


def _rename(override: str) -> tuple[str, list[str]]:
    match = _OVERRIDE.fullmatch(override)
    if match is None:
        return override, []
    mark, key, equals, value = match.groups()
    if key in _SECTIONS and value.startswith("{"):
        return _rename_in_section(override)
    for one in RENAMED:
        lines, words = [], value
        for old, new in one.values.items():
            words, count = re.subn(rf"\b{old}\b", new, words)
            lines += [one.value_line(old)] if count else []
        if begins(key, one.old):
            # Hydra adds by + only new keys, and the present name may have a value already.
            mark = "++" if mark == "+" else mark
            key, lines = one.new + key.removeprefix(one.old), [one.line]
        elif key != one.new:
            continue
        return f"{mark}{key}{equals}{words}", lines
    return override, []


def _rename_in_section(override: str) -> tuple[str, list[str]]:
    """Rename the keys in an override of a whole section, such as ``loss={kde: 0}``."""
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        return override, []  # Hydra reports the error
    tree = {parsed.key_or_group: parsed.value()}
    lines = rename_keys(tree)
    if not lines:
        return override, []
    renamed = replace(parsed, _value=tree[parsed.key_or_group])
    return f"{renamed.get_key_element()}={renamed.get_value_element_as_str()}", lines
