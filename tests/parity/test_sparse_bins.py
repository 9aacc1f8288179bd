"""An objective of sorted samples against that of dense sums, and on any mesh."""

import jax
import numpy as np
import pytest

from kdescent_dist.bins.sums import order_of
from kdescent_dist.config.schema import BinsConfig, CountsConfig, LossConfig
from kdescent_dist.models.population import Population
from support import problems

GRIDS = {
    "fine": BinsConfig(
        columns=["red", "blue"],
        edges={"mass": np.linspace(0.0, 1.0, 9).tolist()},
        kernels=5,
        fourier=3,
        pretrain_kernels=40,
        pretrain_fourier=40,
        number_density=True,
    ),
    "cells": BinsConfig(
        columns=["red"],
        edges={"mass": [0.0, 0.3, 1.0], "blue": [-1.0, 0.3, 0.9, 3.0]},
        softness=0.02,
        kernels=4,
        fourier=0,
        pretrain_kernels=40,
        pretrain_fourier=1,
    ),
    "all": BinsConfig(
        columns=["blue"], kernels=4, fourier=4, pretrain_kernels=40, pretrain_fourier=40
    ),
}


@pytest.fixture(scope="module")
def bins():
    return problems.pretrained(GRIDS)


def loss_and_gradient(objective):
    run = jax.jit(objective.value_and_grad)
    return jax.device_get(run(problems.GUESS, jax.random.key(11), objective.data))


@pytest.mark.nightly
def test_loss_and_gradient_are_those_of_dense_sums(bins, catalog):
    """Of samples that are sorted by a column of the catalog, and by one that parameters change."""
    options = {"catalog": catalog, "loss": LossConfig(volume=1000.0)}
    dense, sparse = (
        loss_and_gradient(problems.objective(bins, counts=CountsConfig(sums), **options))
        for sums in ("dense", "sparse")
    )
    np.testing.assert_allclose(sparse[0], dense[0], rtol=1e-6)
    np.testing.assert_allclose(sparse[1], dense[1], rtol=1e-5, atol=1e-6 * np.abs(dense[1]).max())


@pytest.mark.as_shipped
def test_bits_are_the_same_on_every_mesh(bins, catalog):
    bins = [b for b in bins if b.bin.group == "cells"]
    options = {"catalog": catalog, "counts": CountsConfig("sparse"), "block_size": 200}
    results = [
        loss_and_gradient(problems.objective(bins, devices, kernels, **options))
        for devices, kernels in [(1, 1), (6, 2)]
    ]
    for loss, grad in results[1:]:
        assert loss.tobytes() == results[0][0].tobytes()
        assert grad.tobytes() == results[0][1].tobytes()


def test_a_condition_that_no_parameter_changes_is_sorted_once(bins, catalog):
    """The mass of the toy comes from the catalog, its blue color from parameters, too."""
    objective = problems.objective(bins, counts=CountsConfig("sparse"), catalog=catalog)
    assert list(objective.data["orders"]) == ["mass"]
    (stack,) = [s for s in objective.stacks if s.conditions == ("mass",)]
    masses = np.asarray(objective.data["catalog"]["mass"])
    for block, order in zip(masses, np.asarray(objective.data["orders"]["mass"]), strict=True):
        both = np.tile(block, 2)  # the toy returns every galaxy as a red and as a blue one
        expected = order_of(Population({"mass": both}), [stack])
        np.testing.assert_array_equal(order, expected)
