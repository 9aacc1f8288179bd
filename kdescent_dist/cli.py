"""The command ``kdescent-dist``: composes the config with Hydra, runs it, and returns a code."""

import gc
import os
import sys
import traceback
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from kdescent_dist.config import compose as configs
from kdescent_dist.config.errors import (
    BAD_INPUT,
    DONE,
    FAILED,
    PREEMPTED,
    CheckpointError,
    InputError,
    NonFiniteLossError,
    NotConvergedError,
    Preempted,
)
from kdescent_dist.config.loader import accept_old_keys
from kdescent_dist.distributed.runtime import complain, is_first
from kdescent_dist.run.runner import run
from kdescent_dist.run.sweep import (
    FITS_AT_ONCE,
    SweepJobError,
    end_sweep_job,
    is_sweep_job,
    release_programs,
)


def main() -> None:
    """Run ``kdescent-dist`` with the arguments of the process, and exit with its code."""
    sys.argv[1:] = [_for_hydra(argument) for argument in sys.argv[1:]]
    # While JAX traces programs, the collector of Python would look through all objects again and
    # again: a tenth of the time to the first step.
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    # Hydra then raises instead of printing a traceback of its own and exiting with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    accept_old_keys(_complain)
    ConfigStore.instance().store(name="schema", node=configs.schema(sys.argv[1:]))
    folders = _own_folders()
    codes = [DONE]

    def job(node: DictConfig) -> None:
        _make_importable(folders)
        code = _run(node)
        if is_sweep_job(os.environ):
            return end_sweep_job(code)
        codes.append(code)
        if len(codes) % FITS_AT_ONCE == 0:
            release_programs()
        if codes[-1] == PREEMPTED:  # the signal was for all jobs of a sweep
            sys.exit(PREEMPTED)

    start = hydra.main(version_base="1.3", config_path=str(_conf()), config_name="config")(job)
    try:
        start()
    except (HydraException, OmegaConfBaseException, InputError) as error:
        _complain(_message(error))
        sys.exit(BAD_INPUT)
    except SweepJobError as error:
        _complain(str(error))
        sys.exit(error.code)
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
    except (NonFiniteLossError, NotConvergedError, CheckpointError, OSError) as error:
        _complain(str(error))
        return FAILED
    except Exception:
        traceback.print_exc()
        return FAILED
    return DONE


def _complain(message: str) -> None:
    # Processes that were started together fail alike: one of them tells.
    if is_first(os.environ):
        complain(message)


def _conf() -> Path:
    """The folder of the configs: packaged in a wheel, beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parent / "conf"


def _own_folders() -> list[str]:
    """Where ``_target_`` finds a user's module: the current folder, and that of their configs."""
    folders = [Path.cwd()]
    for flag, value in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        if flag in ("--config-dir", "-cd"):
            folders.append(Path(value).resolve())
        elif flag.startswith("--config-dir="):
            folders.append(Path(flag.split("=", 1)[1]).resolve())
    return [str(folder) for folder in folders]


def _for_hydra(argument: str) -> str:
    """An argument as Hydra must get it to mean what the user does."""
    # By the plugin's own name one gets its launcher with our defaults, as well.
    if argument == "hydra/launcher=submitit_slurm":
        return "hydra/launcher=slurm"
    key, _, value = argument.partition("=")
    # Names of bins hold brackets and commas, which Hydra takes for its own unless in quotes.
    bin_name = key == "report.bin" and value not in ("", "null") and value[0] not in "'\""
    if not bin_name and (not configs.EXPRESSION.match(argument) or _parses(argument)):
        return argument
    return "{}='{}'".format(key, value.replace("\\", r"\\").replace("'", r"\'"))


def _parses(argument: str) -> bool:
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return False
    return True


def _make_importable(folders: list[str]) -> None:
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]


def _message(error: Exception) -> str:
    """What an error of Hydra says, by the error of the config that caused it if there is one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            return configs.explain(cause)
        cause = cause.__cause__
    if "'hydra/launcher/submitit_slurm'" in str(error):
        return "hydra/launcher=slurm needs hydra-submitit-launcher: install the extra `sweep`"
    return str(error).strip()


if __name__ == "__main__":
    main()
