"""A tree of parameters and the vector of its entries."""

from collections import OrderedDict
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameter_tree import ParameterTree


class Track(NamedTuple):
    slope: float
    knots: np.ndarray


TREE = {
    "galaxies": {"quenching": Track(0.5, np.array([1.0, 2.0])), "age": 3.0},
    "dust": [4.0, np.array([[5.0, 6.0], [7.0, 8.0]])],
}
NAMES = (
    "galaxies.quenching.slope",
    "galaxies.quenching.knots[0]",
    "galaxies.quenching.knots[1]",
    "galaxies.age",
    "dust[0]",
    "dust[1][0,0]",
    "dust[1][0,1]",
    "dust[1][1,0]",
    "dust[1][1,1]",
)
VECTOR = np.array([0.5, 1, 2, 3, 4, 5, 6, 7, 8])


def test_names_are_paths_in_the_order_of_the_tree():
    assert ParameterTree.of(TREE).names == NAMES


def test_a_tree_goes_to_its_vector_and_back():
    tree = ParameterTree.of(TREE)
    np.testing.assert_array_equal(tree.flatten(TREE), VECTOR)
    back = tree.unflatten(jnp.asarray(VECTOR))
    assert jax.tree.structure(back) == jax.tree.structure(TREE)
    jax.tree.map(np.testing.assert_array_equal, back, TREE)
    np.testing.assert_array_equal(tree.flatten(back), VECTOR)


def test_the_order_of_a_dict_is_its_own_and_not_that_of_the_alphabet():
    tree = ParameterTree.of({"b": 1.0, "a": {"z": 2.0, "y": 3.0}})
    assert tree.names == ("b", "a.z", "a.y")
    assert list(tree.unflatten([1.0, 2.0, 3.0])) == ["b", "a"]
    np.testing.assert_array_equal(tree.flatten({"a": {"y": 3, "z": 2}, "b": 1}), [1, 2, 3])
    assert ParameterTree.of(OrderedDict(b=1.0, a=2.0)).names == ("b", "a")


def test_scalars_by_name_are_taken_apart_as_a_plain_loop_does():
    """So that the program of a fit, and the bits of its numbers, are those of such a loop."""
    names = ("b", "a", "c")
    tree = ParameterTree.of_names(names)

    def by_tree(vector):
        return tree.unflatten(vector)

    def by_loop(vector):
        return dict(zip(names, vector, strict=True))

    vector = jnp.arange(3.0)
    assert str(jax.make_jaxpr(by_tree)(vector)) == str(jax.make_jaxpr(by_loop)(vector))
    assert list(tree.unflatten(vector)) == list(names)
    assert ParameterTree.of(dict.fromkeys(names, 0.0)) == tree


def test_a_vector_may_stay_a_vector():
    tree = ParameterTree(("p0", "p1"))
    vector = jnp.arange(2.0)
    assert tree.unflatten(vector) is vector
    np.testing.assert_array_equal(tree.flatten([1.0, 2.0]), [1.0, 2.0])


def test_an_empty_branch_has_no_entries():
    tree = ParameterTree.of({"a": None, "b": (), "c": 1.0})
    assert tree.names == ("c",)
    assert tree.unflatten([2.0]) == {"a": None, "b": (), "c": 2.0}


def test_a_path_finds_an_entry_or_all_below_a_branch():
    tree = ParameterTree.of(TREE)
    assert tree.below("galaxies.age", "bounds") == [3]
    assert tree.below("galaxies.quenching", "bounds") == [0, 1, 2]
    assert tree.below("dust[1]", "bounds") == [5, 6, 7, 8]
    with pytest.raises(InputError, match=r"bounds: galaxies.ages: no such parameter; did you mean"):
        tree.below("galaxies.ages", "bounds")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": {"b": "x"}}, "parameters: a.b: 'x' is no number and no array of numbers"),
        ({"a": True}, "parameters: a: True is no number"),
        ({"a.b": 1.0, "a": {"b": 2.0}}, "parameters: a.b: two entries have this name"),
    ],
)
def test_what_is_no_tree_of_numbers_is_refused(tree, message):
    with pytest.raises(InputError, match=message):
        ParameterTree.of(tree)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": 1.0}, "truth: b: is missing"),
        ({"a": 1.0, "b": 2.0, "bb": 3.0}, "truth: bb: no such parameter; did you mean b"),
    ],
)
def test_a_tree_of_another_form_is_refused(tree, message):
    with pytest.raises(InputError, match=message):
        ParameterTree.of_names(("a", "b")).flatten(tree, "truth")


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(InputError, match="3 values for 2 parameters"):
        ParameterTree.of_names(("a", "b")).unflatten(np.zeros(3))
