"""Functions that a config names by dotted path: ``_target_: my_models.quenching``."""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from kdescent_dist.config.errors import InputError, closest


def import_target(path: Any, key: str) -> Callable[..., Any]:
    """Import a function from its dotted path.

    Args:
        path: module and name, ``package.module.function``.
        key: the config key that holds the path, for messages.

    Raises:
        InputError: there is no such module or name, the import fails, or the name is not a
            function.
    """
    if not isinstance(path, str) or not all(part.isidentifier() for part in path.split(".")):
        raise InputError(f"{key}={path}: must be a dotted path, such as my_module.my_function")
    if "." not in path:
        raise InputError(f"{key}={path}: name the module too, such as my_module.{path}")
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(missing + "."):
            raise InputError(
                f"{key}={path}: there is no module {missing}: start the run in the folder that "
                f"holds it, or add that folder to PYTHONPATH"
            ) from error
        raise InputError(f"{key}={path}: {module_name} needs {missing}, not installed") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{key}={path}: importing {module_name} failed: {reason}") from error
    if not hasattr(module, name):
        public = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        raise InputError(f"{key}={path}: {module_name} has no {name}: {closest(name, public)}")
    target = getattr(module, name)
    if not callable(target):
        raise InputError(f"{key}={path}: is not a function")
    return target


def bind_target(spec: Mapping[str, Any], key: str) -> Callable[..., Any]:
    """The function that ``spec`` names, with the other entries of ``spec`` bound as arguments.

    Args:
        spec: ``{"_target_": dotted path, **arguments}``.
        key: the config key of ``spec``, for messages.

    Raises:
        InputError: the function cannot be imported.
    """
    target, arguments = _target_and_arguments(spec, key)
    return functools.partial(target, **arguments) if arguments else target


def call_target(spec: Mapping[str, Any], key: str) -> Any:
    """Call the function that ``spec`` names with the other entries of ``spec`` as arguments.

    Args:
        spec: ``{"_target_": dotted path, **arguments}``.
        key: the config key of ``spec``, for messages.

    Raises:
        InputError: the function cannot be imported, or does not take these arguments.
    """
    target, arguments = _target_and_arguments(spec, key)
    try:
        inspect.signature(target).bind(**arguments)
    except TypeError as error:
        raise InputError(f"{key}: {spec['_target_']} cannot be called: {error}") from error
    except ValueError:  # a builtin without a signature: the call itself raises
        pass
    return target(**arguments)


def _target_and_arguments(
    spec: Mapping[str, Any], key: str
) -> tuple[Callable[..., Any], dict[str, Any]]:
    arguments = dict(spec)
    if "_target_" not in arguments:
        raise InputError(f"{key}._target_: missing: set it to the dotted path of a function")
    return import_target(arguments.pop("_target_"), f"{key}._target_"), arguments
