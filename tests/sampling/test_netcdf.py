"""Names of parameters in the file of draws, and in what the report reads from there."""

import h5py
import numpy as np

from kdescent_dist.report.data.posterior import read_draws
from kdescent_dist.sampling.netcdf import write_draws


def test_a_parameter_of_any_name_is_found_again(tmp_path):
    names = ["chain", "a_b", "a/b", "chain_", "draw", "plain"]
    draws = {name: np.full((2, 3), float(i)) for i, name in enumerate(names)}
    write_draws(tmp_path / "draws.nc", {"posterior": draws}, {})
    found = read_draws(tmp_path / "draws.nc")
    assert {name: values[0, 0] for name, values in found.items()} == {
        name: float(i) for i, name in enumerate(names)
    }
    with h5py.File(tmp_path / "draws.nc") as file:
        assert set(file["posterior"]) >= {"chain", "draw", "a_b", "plain"}
        assert file["posterior/chain"].shape == (2,)
