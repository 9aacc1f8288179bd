"""Imported by each Python that the tests start with this folder in PYTHONPATH.

JAX leaves it to the first process of a run to write to its compilation cache. On CPUs the others
have programs of their own, which they would compile at each start, for most of its time; here they
write them as well. All compile as the test that starts them.
"""

from types import FunctionType, SimpleNamespace

import quick_compiler  # noqa: F401  (which does what its environment asks for)
from jax._src import compiler

write = getattr(compiler, "_cache_write", None)
if write is not None:
    first = SimpleNamespace(global_state=SimpleNamespace(process_id=0))
    compiler._cache_write = FunctionType(
        write.__code__, {**write.__globals__, "distributed": first}
    )
