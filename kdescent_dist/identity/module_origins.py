"""Finds the origin of modules without importing them."""

import site
import sys
import sysconfig
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, Literal

PACKAGE = "kdescent_dist"
MODELS = f"{PACKAGE}.models."  # shipped models count like a user's own modules
_PROTOCOL = frozenset({f"{MODELS}population", f"{MODELS}block_model"})  # not models

Origin = Literal["own", "installed", "other"]


def origin(name: str) -> tuple[Origin, Path | None]:
    """Find the origin of a module.

    Args:
        name: dotted name of a module, imported or not.

    Returns:
        - ``own`` and the file: a module of the user;
        - ``installed``: a module of a package installed with pip or the like;
        - ``other``: the standard library, this package, the running script or notebook, a folder
          without a module, or no such module.
    """
    if name == "__main__" or is_internal(name):
        return "other", None
    file, folders = _places(name)
    if file is None:
        return ("installed" if any(map(_is_installed, folders)) else "other"), None
    if name.startswith(MODELS):
        return "own", file
    if _is_installed(file):
        return "installed", None
    if _within(file, ("stdlib", "platstdlib")) or not file.exists():
        return "other", None
    return ("own", file) if file.suffix == ".py" else ("installed", None)


def is_standard(name: str) -> bool:
    """Whether a module is part of the standard library."""
    file, folders = _places(name)
    if file is None:
        return name.partition(".")[0] in sys.stdlib_module_names and not folders
    return _within(file, ("stdlib", "platstdlib")) and not _is_installed(file)


def is_told_elsewhere(name: Any) -> bool:
    """Whether the file of a module, or the version of its package, identifies the module's code.

    This is false for a script, a notebook and a module created from text.

    Args:
        name: dotted name of a module; any other value means no module.
    """
    if not isinstance(name, str) or name == "__main__":
        return False
    if _is_here(name) or origin(name)[0] != "other" or is_standard(name):
        return True
    package = name.partition(".")[0]  # a compiled module may contain modules without a file
    return origin(package)[0] == "installed" or is_standard(package)


def is_internal(name: str) -> bool:
    """Whether a module is part of this package, but not a shipped model."""
    return _is_here(name) and (not name.startswith(MODELS) or name in _PROTOCOL)


def _is_here(name: str) -> bool:
    return name.partition(".")[0] == PACKAGE


def _places(name: str) -> tuple[Path | None, list[Path]]:
    """The file of a module, if it has one, and the folders of its submodules."""
    module = sys.modules.get(name)
    spec = _spec(name)
    file = getattr(module, "__file__", None)
    if file is None and spec is not None and spec.has_location:
        file = spec.origin
    return Path(file) if file else None, [Path(p) for p in _folders(module, spec)]


def _folders(module: Any, spec: ModuleSpec | None) -> list[str]:
    found = getattr(module, "__path__", None) or getattr(spec, "submodule_search_locations", None)
    return list(found or ())


def _spec(name: str) -> ModuleSpec | None:
    """The spec of a module, without importing the module or its parents."""
    if name in sys.modules:
        return getattr(sys.modules[name], "__spec__", None)
    parent = name.rpartition(".")[0]
    path = None
    if parent:
        path = _folders(sys.modules.get(parent), _spec(parent))
        if not path:
            return None
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, path)
        except (AttributeError, ImportError, KeyError, ValueError):
            continue  # a finder without find_spec, or a parent package that is not imported
        if spec is not None:
            return spec
    return None


def _is_installed(file: Path) -> bool:
    if {"site-packages", "dist-packages"} & {*file.parts, *file.resolve().parts}:
        return True
    user = site.getusersitepackages() if site.ENABLE_USER_SITE else None
    return _within(file, ("purelib", "platlib")) or bool(user and file.is_relative_to(user))


def _within(file: Path, names: tuple[str, ...]) -> bool:
    folders = [Path(sysconfig.get_path(name)) for name in names]
    return any(
        place.is_relative_to(root)
        for folder in folders
        for place in (file, file.resolve())
        for root in (folder, folder.resolve())
    )
