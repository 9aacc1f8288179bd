"""The command ``kdescent-dist``: composes the config with Hydra, runs it, and returns a code."""

import os
import sys
import traceback
from pathlib import Path

import hydra
import jax
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from kdescent_dist import config as configs
from kdescent_dist.errors import InputError, NonFiniteLossError, Preempted
from kdescent_dist.launch import is_first
from kdescent_dist.run import run

DONE, FAILED, BAD_INPUT, PREEMPTED = 0, 1, 2, 75


def main() -> None:
    """Run ``kdescent-dist`` with the arguments of the process, and exit with its code."""
    # Hydra then raises instead of printing a traceback of its own and exiting with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    ConfigStore.instance().store(name="schema", node=configs.schema(sys.argv[1:]))
    _make_importable()
    codes = [DONE]

    def job(node: DictConfig) -> None:
        codes.append(_run(node))
        if codes[-1] == PREEMPTED:  # the signal was for all jobs of a sweep
            sys.exit(PREEMPTED)

    start = hydra.main(version_base="1.3", config_path=str(_conf()), config_name="config")(job)
    try:
        start()
    except (HydraException, OmegaConfBaseException) as error:
        _complain(_message(error))
        sys.exit(BAD_INPUT)
    sys.exit(max(codes))


def _run(node: DictConfig) -> int:
    try:
        run(configs.from_omegaconf(node))
    except InputError as error:
        _complain(str(error))
        return BAD_INPUT
    except Preempted as stop:
        _complain(f"{stop}; start it again to continue")
        return PREEMPTED
    except (NonFiniteLossError, OSError) as error:
        _complain(str(error))
        return FAILED
    except Exception:
        traceback.print_exc()
        return FAILED
    return DONE


def _complain(message: str) -> None:
    # Processes that were started together fail alike: one of them tells.
    if jax.process_index() == 0 if jax.distributed.is_initialized() else is_first(os.environ):
        print(f"kdescent-dist: {message}", file=sys.stderr)


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
    """What an error of Hydra says, by the error of the config that caused it if there is one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            return configs.explain(cause)
        cause = cause.__cause__
    return str(error).strip()


if __name__ == "__main__":
    main()
