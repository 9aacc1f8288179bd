"""The command ``kdescent-dist``: composes the config with Hydra, runs it, and returns a code."""

import logging
import os
import sys
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from kdescent_dist import config as configs
from kdescent_dist.config import Config
from kdescent_dist.errors import InputError, Preempted
from kdescent_dist.run import run

DONE, FAILED, BAD_INPUT, PREEMPTED = 0, 1, 2, 75

log = logging.getLogger(__name__)


def main() -> None:
    """Run ``kdescent-dist`` with the arguments of the process, and exit with its code."""
    # Hydra then raises instead of printing a traceback of its own and exiting with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    ConfigStore.instance().store(name="schema", node=Config)
    _make_importable()
    start = hydra.main(version_base="1.3", config_path=str(_conf()), config_name="config")(_job)
    try:
        start()
    except (InputError, HydraException, OmegaConfBaseException) as error:
        print(f"kdescent-dist: {_message(error)}", file=sys.stderr)
        sys.exit(BAD_INPUT)


def _job(node: DictConfig) -> None:
    config = configs.from_omegaconf(node)
    code = _run(config)
    if code != DONE:
        sys.exit(code)


def _run(config: Config) -> int:
    try:
        run(config)
    except Preempted as stop:
        log.info("%s; start it again to continue", stop)
        return PREEMPTED
    except InputError:
        raise
    except Exception as error:
        log.error("failed: %s", error, exc_info=not isinstance(error, FloatingPointError))
        return FAILED
    return DONE


def _conf() -> Path:
    """The folder of the configs: packaged in a wheel, beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parent / "conf"


def _make_importable() -> None:
    """Let ``_target_`` find a user's module in the current folder or beside their configs."""
    folders = [Path.cwd()]
    for flag, value in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        if flag in ("--config-dir", "-cd"):
            folders.append(Path(value).resolve())
        elif flag.startswith("--config-dir="):
            folders.append(Path(flag.split("=", 1)[1]).resolve())
    sys.path[:0] = [str(folder) for folder in folders if str(folder) not in sys.path]


def _message(error: Exception) -> str:
    """The error and what caused it, without repetition."""
    lines = [str(error).strip()]
    cause = error.__cause__
    while cause is not None and not isinstance(error, InputError):
        text = str(cause).strip()
        if text and text not in "\n".join(lines):
            lines.append(text)
        cause = cause.__cause__
    return "\n".join(lines)


if __name__ == "__main__":
    main()
