"""The random keys of chains: of the run, of the posterior, and of each chain."""

import itertools

from kdescent_dist.sampling.chain import ChainKeys


def test_keys_follow_from_both_seeds_and_the_number():
    found = {given: ChainKeys.of(*given) for given in itertools.product((0, 1), (0, 1), (0, 1))}
    assert len({one.moves.tobytes() for one in found.values()}) == 8
    assert len({one.model.tobytes() for one in found.values()}) == 4  # one for all chains
    again = ChainKeys.of(1, 0, 1)
    assert again.moves.tobytes() == found[1, 0, 1].moves.tobytes()
