"""The command, called in this process."""

import contextlib
import gc
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from kdescent_dist import cli

FLAGS = ("jax_enable_x64", "jax_compilation_cache_dir", "jax_platforms")


def call(monkeypatch, *arguments: str) -> int:
    """The exit code of the command with these arguments; the process is as it was after that."""
    with monkeypatch.context() as context:
        context.setattr(sys, "argv", ["kdescent-dist", *arguments])
        context.setattr(sys, "path", list(sys.path))
        context.setenv("HYDRA_FULL_ERROR", "1")
        thresholds = gc.get_threshold()
        try:
            cli.main()
        except SystemExit as leaving:
            return int(leaving.code or 0)
        finally:
            gc.set_threshold(*thresholds)
            gc.unfreeze()
    return 0


@contextlib.contextmanager
def flags_kept() -> Iterator[None]:
    """The flags of JAX that a run sets are as they were after it."""
    before = {name: getattr(jax.config, name) for name in FLAGS}
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def run_told(*arguments: str, cwd: Path, devices: int | None = 1) -> tuple[int, str, str]:
    """Carry out a command in this process: its exit code, and what it says and complains of.

    A fit takes some of the devices of this process; those of the arguments where that is None.
    """
    modules = set(sys.modules)
    out, err = io.StringIO(), io.StringIO()
    given = arguments if devices is None else (*arguments, f"mesh.samples={devices}")
    with pytest.MonkeyPatch.context() as context, flags_kept():
        context.chdir(cwd)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = call(context, *given)
    # A model of the user's is another one in the next folder.
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None) or os.sep
        if Path(file).is_relative_to(cwd):
            del sys.modules[name]
    return code, out.getvalue(), err.getvalue()


def run_here(*arguments: str, cwd: Path, devices: int = 1) -> None:
    """Carry out a run in this process, which must be done."""
    code, _, err = run_told(*arguments, cwd=cwd, devices=devices)
    assert code == 0, err
