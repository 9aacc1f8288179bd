"""Functions that a config names by their dotted path."""

import numpy as np
import pytest

from kdescent_dist.config.dotted_path import call_target, import_target
from kdescent_dist.config.errors import InputError


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of the user, in a folder that is importable."""
    (tmp_path / "my_targets.py").write_text(
        "def double(x, *, plus=0):\n    return 2 * x + plus\nn = 1\n"
    )
    (tmp_path / "my_broken.py").write_text("import a_library_that_is_not_there\n")
    (tmp_path / "my_failing.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_function_is_called_with_the_other_entries(module):
    assert call_target({"_target_": "my_targets.double", "x": 2, "plus": 1}, "catalog.make") == 5
    assert import_target("numpy.linalg.norm", "model._target_") is np.linalg.norm


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("double", "name the module too"),
        ("my targets.double", "must be a dotted path"),
        (3, "must be a dotted path"),
        ("my_target.double", "there is no module my_target:"),
        ("my_targets.inner.double", "there is no module my_targets.inner"),
        ("my_targets.doubel", "did you mean double"),
        ("my_targets.n", "is not a function"),
        ("my_broken.f", "my_broken needs a_library_that_is_not_there"),
        ("my_failing.f", "importing my_failing failed: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_its_key(module, path, reason):
    with pytest.raises(InputError, match=r"^model\._target_=") as caught:
        import_target(path, "model._target_")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"x": 1}, r"catalog\.make\._target_: missing"),
        ({"_target_": "my_targets.double"}, r"catalog\.make: .* missing a required argument: 'x'"),
        ({"_target_": "my_targets.double", "x": 1, "y": 2}, r"catalog\.make: .* argument 'y'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_their_key(module, spec, reason):
    with pytest.raises(InputError, match=reason):
        call_target(spec, "catalog.make")


def test_errors_in_the_function_itself_are_its_own(module):
    with pytest.raises(TypeError, match="unsupported operand"):
        call_target({"_target_": "my_targets.double", "x": 1, "plus": "a"}, "catalog.make")
