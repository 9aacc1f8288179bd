"""How the programs of tests are compiled: quickly, or as those of a user.

A test that says something of bits, rounding, memory or what is compiled is marked ``as_shipped``:
its programs are compiled as those of a user. So are all that compare processes, devices, versions
or packages. All others compile quickly, see ``every_rank/quick_compiler.py``.
"""

from support.every_rank.quick_compiler import for_processes, set_quick

__all__ = ["MARK", "for_processes", "set_quick"]

MARK = "as_shipped: programs are compiled with all optimizations, as those of a user"
