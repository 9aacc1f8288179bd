"""The minimum of the loss of the small problem, for tests of distance, finish and errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from kdescent_dist.bins.pretrained import PretrainedBin
from kdescent_dist.config.schema import LossConfig
from kdescent_dist.response import distance
from kdescent_dist.response.newton import Newton, NewtonState
from support import problems

CHISQ = LossConfig(kind="chisq", model_errors=False, number_density=0.0)
SIZE = 4003


def with_few_points() -> list[PretrainedBin]:
    """Two bins with fewer points than usual, which are all compared."""
    few = replace(problems.GRIDS["grid"], pretrain_kernels=16, pretrain_fourier=12)
    return problems.pretrained({"grid": few})


@contextmanager
def few_populations() -> Iterator[None]:
    """A noise of up to 0.3 errors, in place of 0.1, needs a ninth of the populations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distance, "NOISE", 0.3)
        patch.setattr(distance, "CONVERGED", 0.9)
        yield


def carried_out(newton: Newton, params: np.ndarray) -> list[NewtonState]:
    """All states from parameters to the end."""
    states = [NewtonState.begin(np.asarray(params, np.float32))]
    while not states[-1].ended:
        states.append(newton.step(states[-1]))
    return states
