"""What processes tell each other: their shares, arrays, and the failures of some of them."""

import numpy as np
import pytest

from kdescent_dist.config.errors import InputError
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.distributed.progress import Progress
from support.thread_processes import ThreadProcesses, in_threads


@pytest.mark.parametrize("number", [1, 2, 3, 7])
@pytest.mark.parametrize("items", [0, 1, 6, 100])
def test_shares_follow_each_other_and_differ_by_one_item_at_most(items, number):
    shares = in_threads(number, lambda processes: processes.share(items))
    assert [first for first, _ in shares] == [0, *(last for _, last in shares[:-1])]
    assert shares[-1][1] == items
    sizes = [last - first for first, last in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("shape", [(), (2,), (0,), (2, 0)])
def test_an_exchange_returns_the_arrays_of_all_processes(number, shape):
    def work(processes):
        return processes.exchange(np.full(shape, (1 << 40) + processes.index))

    expected = np.stack([np.full(shape, (1 << 40) + i) for i in range(number)])
    for found in in_threads(number, work):
        np.testing.assert_array_equal(found, expected)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)


class Unusual(Exception):
    def __init__(self, message, more):
        super().__init__(message)


def raised(number, failures):
    """What each process raises, where some of them fail on their own."""

    def work(processes):
        def function():
            if processes.index in failures:
                raise failures[processes.index]
            return "done"

        try:
            return processes.together(function)
        except Exception as error:
            return error

    return in_threads(number, work)


def test_all_have_their_own_result_where_none_fails():
    found = in_threads(3, lambda processes: processes.together(lambda: processes.index))
    assert found == [0, 1, 2]


@pytest.mark.parametrize("failures", [{1: InputError("a")}, {1: InputError("a"), 2: OSError("b")}])
def test_bad_input_of_some_names_the_first_process_with_it_in_all(failures):
    for error in raised(3, failures):
        assert type(error) is InputError
        assert str(error) == "process 1 of 3: a"


def test_bad_input_of_all_is_told_as_one_process_tells_it():
    for error in raised(3, {i: InputError(f"bad in {i}") for i in range(3)}):
        assert (type(error), str(error)) == (InputError, "bad in 0")


@pytest.mark.parametrize("fault", [ZeroDivisionError("a fault"), Unusual("a fault", 1)])
def test_a_fault_of_some_is_raised_there_and_told_by_the_others(fault):
    errors = raised(3, {1: fault, 2: InputError("later")})
    assert errors[1] is fault
    for error in (errors[0], errors[2]):
        assert type(error) is RuntimeError
        assert str(error).startswith("process 1 of 3 failed: ")
        assert str(error).endswith(f"{type(fault).__name__}: a fault")


def test_a_fault_of_all_is_the_one_of_the_first_process():
    for error in raised(2, {i: ZeroDivisionError(f"fault {i}") for i in range(2)}):
        assert (type(error), str(error)) == (ZeroDivisionError, "fault 0")


def test_progress_counts_the_exchanges_that_a_process_begins():
    def work(processes):
        counted = ThreadProcesses(
            (), processes.number, processes.own, processes.table, progress=Progress()
        )
        counted.barrier()
        counted.added(np.arange(3))
        return counted.progress.reached

    assert in_threads(2, work) == [2, 2]
    assert Processes(()) == Processes((), progress=Progress())
