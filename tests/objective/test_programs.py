"""Compiled programs that objectives share."""

import pytest

from kdescent_dist.objective import programs


def fails():
    raise TypeError("no argument")


def test_a_program_is_made_once_and_again_if_its_name_has_no_hash():
    made = programs.Programs()
    first = made.of("a", object)
    assert made.of("a", object) is first
    assert made.of(["a"], object) is not made.of(["a"], object)
    with pytest.raises(TypeError, match="no argument"):
        made.of("b", fails)


def test_only_the_last_programs_are_kept(monkeypatch):
    monkeypatch.setattr(programs, "MOST", 2)
    made = programs.Programs()
    a, b, c = (made.of(name, object) for name in "abc")
    assert made.of("c", object) is c
    assert made.of("b", object) is b
    assert made.of("a", object) is not a
