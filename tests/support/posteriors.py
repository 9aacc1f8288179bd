"""Posteriors of the normal distribution of ``quickstart``, for fresh catalogs."""

from dataclasses import dataclass

import jax
import numpy as np

from kdescent_dist.bins.bin import expand_bins
from kdescent_dist.bins.pretrained import pretrain_bin
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import BinsConfig
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.models.gaussian import NAMES, gaussian, training_catalog
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.response.fixed_loss import CatalogRows, FixedLoss
from kdescent_dist.response.likelihood import Likelihood
from kdescent_dist.response.linearizer import Linearizer
from kdescent_dist.sampling.chain import ChainKeys, Sampler
from kdescent_dist.sampling.target import Target

TRUTH = dict(zip(NAMES, (1.6, 2.9, 0.8, 1.25, -0.2), strict=True))
BOUNDS = {
    "variance_1": (0.001, None),
    "variance_2": (0.001, None),
    "correlation": (-0.999, 0.999),
}
ROWS, SAMPLES = 2000, 4000


@dataclass(frozen=True)
class Case:
    """A catalog drawn from the model, with its likelihood at the truth."""

    parameters: Parameters
    likelihood: Likelihood
    truth: np.ndarray

    @classmethod
    def of(cls, seed, populations=2, bounds=BOUNDS, devices=1, truth=TRUTH):
        columns = {n: np.asarray(v) for n, v in training_catalog(truth, ROWS, seed).items()}
        weights = np.ones(ROWS)
        config = BinsConfig(
            columns=["x1", "x2"],
            normalization="density",
            kernels=20,
            fourier=10,
            fourier_half_space=True,
            pretrain_kernels=60,
            pretrain_fourier=30,
        )
        mesh = make_mesh(devices)
        (one,) = expand_bins({"all": config})
        parameters = Parameters.of_tree(truth, bounds=bounds)
        objective = PopulationObjective(
            gaussian,
            parameters,
            [pretrain_bin(one, columns, weights, seed, make_mesh(1))],
            training_weight=float(ROWS),
            size=SAMPLES,
            mesh=mesh,
            model_checked=True,
        )
        rows = CatalogRows(TrainingCatalog.of(columns, weights))
        loss = FixedLoss(objective, parameters, seed, catalogs=rows)
        at = Linearizer(loss).at(parameters.guess)
        return cls(parameters, Likelihood(at, populations), parameters.guess)

    def draws(self, draws, warmup=100, seed=0):
        """Draws (draws, P) of one chain after its warmup."""
        target = Target.of(self.likelihood, self.parameters, self.truth)
        sampler, keys = Sampler(target, warmup), ChainKeys.of(7, seed, 0)
        state, found, number = sampler.start(keys), [], 0
        while number < warmup + draws:
            some = min(64, warmup + draws - number)
            state, told = sampler.advance(state, number, some, keys)
            found.append(told["params"])
            number += some
        return np.concatenate(found)[warmup:]

    def value_and_grad(self, params, key=0):
        """The log likelihood and its gradient, in one program."""
        function = jax.jit(
            lambda p, data: jax.value_and_grad(self.likelihood.log_likelihood)(p, key, data)
        )
        return function(np.asarray(params, np.float32), self.likelihood.data)
