"""The command, called in this process."""

import sys

from kdescent_dist import cli


def call(monkeypatch, *arguments: str) -> int:
    """The exit code of the command with these arguments; the process is as it was after that."""
    with monkeypatch.context() as context:
        context.setattr(sys, "argv", ["kdescent-dist", *arguments])
        context.setattr(sys, "path", list(sys.path))
        context.setenv("HYDRA_FULL_ERROR", "1")
        try:
            cli.main()
        except SystemExit as leaving:
            return int(leaving.code or 0)
    return 0
