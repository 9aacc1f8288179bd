"""The start of a fit: the guess of its config, or the parameters of another run."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from kdescent_dist.config.compose import read_config
from kdescent_dist.config.errors import InputError, closest
from kdescent_dist.config.schema import Config


def with_guess_of_run(config: Config) -> Config:
    """The config with the parameters of the run directory ``fit.guess_from`` as its guess.

    Parameters that the other run lacks keep their own guess. A fit that has started in ``run_dir``
    keeps its guess, even if the other run has changed since.

    Raises:
        InputError: there is no such run, or the run has no parameters yet, or no parameter of this
            fit.
    """
    path = config.fit.guess_from
    if path is None:
        return config
    if (known := _begun_there(config)) is not None:
        return known
    key = f"fit.guess_from={path}"
    try:
        result = json.loads((Path(path) / "result.json").read_text())
        found, status = result["params"], result["status"]
    except OSError as error:
        raise InputError(f"{key}: no run directory with a result.json: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{key}: its result.json cannot be read: {error}") from error
    if found is None:
        raise InputError(f"{key}: that run has no parameters yet (status: {status})")
    if not found.keys() & config.parameters.keys():
        names = "; ".join(f"{name}: {closest(name, found)}" for name in config.parameters)
        raise InputError(f"{key}: none of its parameters are those of this fit: {names}")
    return _with_guesses(config, found)


def _begun_there(config: Config) -> Config | None:
    """The config with the guess in ``run_dir``, if that fit has the same ``fit.guess_from``."""
    file = Path(config.run_dir or "") / "config.yaml"
    if config.run_dir is None or not file.is_file():
        return None
    known, _ = read_config(file)
    if known.fit.guess_from != config.fit.guess_from:
        return None
    return _with_guesses(config, {name: p.guess for name, p in known.parameters.items()})


def _with_guesses(config: Config, guesses: Mapping[str, float]) -> Config:
    parameters = {
        name: replace(parameter, guess=float(guesses[name])) if name in guesses else parameter
        for name, parameter in config.parameters.items()
    }
    return replace(config, parameters=parameters)
