"""Digests of contents: equal in every process, different where a content differs."""

import collections
import dataclasses
import enum
import functools
import json
import os
import re
import subprocess
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdescent_dist.identity.content import content_digest
from kdescent_dist.identity.digests import source_digest_1

# Values that name themselves, built anew in each process.
PROGRAM = r"""
import collections, dataclasses, datetime, decimal, enum, functools, json, re, threading, types
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np, optax
from kdescent_dist.identity.content import content_digest

class Bare:
    def __init__(self, *values): self.values = values

class Slotted:
    __slots__ = ("a", "b")
    def __init__(self): self.a, self.b = {"x", "y"}, self

class Locked:
    def __init__(self): self.lock, self.n = threading.Lock(), 1

class Color(enum.Enum):
    RED = "r"

@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    names: frozenset

Pair = collections.namedtuple("Pair", "a b")

def model(x, scale=2.0): return x * scale

ring = Bare()
ring.me, ring.all = ring, {"ring": [ring]}
rates = (0.1, optax.cosine_decay_schedule(0.1, 10))
values = {
    "names": {"alpha", "beta", "gamma", "delta"},
    "table": {("a", 1): frozenset({"x", "y", b"z"}), "b": None},
    "bare": Bare({"u", "v"}, object()),
    "slotted": Slotted(), "locked": Locked(), "ring": ring, "color": Color.RED,
    "point": Point(1.0, frozenset({"a", "b"})), "pair": Pair(1, {"a", "b"}),
    "partial": functools.partial(model, scale={"a", "b"}), "method": Bare({"a", "b"}).__init__,
    "counter": collections.Counter("hello"), "default": collections.defaultdict(list, a=[1]),
    "regex": re.compile("a+", re.I), "path": Path("a/b"), "type": np.dtype("f4,i2"),
    "date": datetime.date(2020, 1, 2), "decimal": decimal.Decimal("1.5"),
    "jitted": jax.jit(model), "cached": functools.cache(model), "lambda": lambda x: x + 1,
    "key": jax.random.key(3), "jax": jnp.arange(3), "ufunc": np.add, "builtin": abs,
    "relu": jax.nn.relu, "generator": np.random.default_rng(3), "module": np,
    "objects": np.array(["a", None, {"x", "y"}], object), "proxy": types.MappingProxyType({"a": 1}),
    "strings": np.array(["a", "bc"], np.dtypes.StringDType()),
    "masked": np.ma.array([1, 2], mask=[True, False]), "global": np.random.normal,
    "compiled": type(jax.tree.structure(1)).unflatten,
    "code": eval("lambda x: np.sin(x) + 2.5"),
    **{f"adam {n}": optax.adam(r) for n, r in enumerate(rates)},
    **{f"adamw {n}": optax.adamw(r) for n, r in enumerate(rates)},
    "adam of 0.2": optax.adam(0.2),
    "chain": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1)),
}
print(json.dumps({name: content_digest(value) for name, value in values.items()}))
"""


@pytest.mark.slow
def test_contents_have_one_digest_in_every_process(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def digests(seed):
        result = subprocess.run(
            [sys.executable, program],
            env=os.environ | {"PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            check=True,
        )
        return json.loads(result.stdout)

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(digests, ("1", "2")))
    assert found[0] == found[1]
    assert len(set(found[0].values())) == len(found[0])


class Model:
    """A model as an instance."""

    def __init__(self, table):
        self.table = table

    def draw(self, params):
        return self.table


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a):
        self.a = a


def closure(scale):
    def inner(x):
        return x * scale

    return inner


def plain(x, table=None):
    return x


def shortened(value):
    return np.where(np.arange(5000) == 2500, value, 0.0)


# What tells two functions apart, of which scheme 1 saw nothing.
TOLD_APART = {
    "a long table": lambda v: functools.partial(plain, table=shortened(v)),
    "an instance": Model,
    "a method": lambda v: Model(v).draw,
    "a closure": closure,
}


@pytest.mark.parametrize("name", TOLD_APART)
def test_what_scheme_1_took_for_the_same_is_told_apart(name):
    make = TOLD_APART[name]
    assert source_digest_1(make(1.0)) == source_digest_1(make(2.0))
    assert content_digest(make(1.0)) != content_digest(make(2.0))
    assert content_digest(make(1.0)) == content_digest(make(1.0))


def test_what_scheme_1_took_for_another_is_the_same():
    first, second = (functools.partial(plain, table=Model(1.0)) for _ in range(2))
    assert source_digest_1(first) != source_digest_1(second)
    assert content_digest(first) == content_digest(second)


DIFFERENT = [
    [None, False, 0, 0.0, -0.0, 0j, "", b"", (), [], {}, set(), frozenset(), ...],
    [1, True, 1.0, np.float64(1), np.float32(1), np.array(1.0), jnp.asarray(1.0), "1"],
    [[1, 2], [2, 1], (1, 2), {1, 2}, {1: 2}, [[1], 2], [1, [2]], [1, 2, None]],
    [["ab", "c"], ["a", "bc"], ["abc"], [b"ab", "c"]],
    [np.arange(3), np.arange(3.0), np.arange(3).reshape(1, 3), np.arange(3, dtype=">i8")],
    [jnp.zeros(2), jnp.zeros(2, jnp.bfloat16), jnp.ones(2), np.zeros(2, np.float32)],
    [jnp.asarray(1.0), jnp.asarray(1.0, jnp.float32)],
    [np.array([1, "a"], object), np.array(["a", 1], object), np.array(["a", "1"])],
    [np.ma.array([1, 2], mask=mask) for mask in ([0, 0], [0, 1])] + [np.array([1, 2])],
    [jax.random.key(0), jax.random.key(1), jax.random.key(0, impl="rbg")],
    [np.dtype("f4"), np.dtype("f8"), np.float32, np.dtype([("a", "f4")])],
    [slice(1), slice(1, 2), range(1), range(1, 2)],
    [re.compile("a"), re.compile("a", re.I), Path("a"), Path("b")],
    [Slotted(1), Slotted(2), Model(1), Model(2)],
    [Model(1).draw, Model(2).draw, Model.draw, Model(1)],
    [collections.OrderedDict(a=1), {"a": 1}, types.SimpleNamespace(a=1)],
    [collections.deque([1]), collections.deque([1], 5), collections.deque([2])],
    [{"a": 1}.keys(), {"b": 1}.keys(), {"a": 1}.items(), {"a": 2}.items(), {"a": 1}.values()],
    [closure(np.arange(2)), closure(np.arange(3)), lambda x: x, lambda x: -x],
    [functools.partial(plain), functools.partial(plain, 1), functools.partial(plain, table=1)],
    [jax.jit(closure(1)), jax.jit(closure(2)), closure(1)],
    [jax.custom_jvp(closure(1)), jax.custom_jvp(closure(2)), jax.custom_vjp(closure(1))],
    [np.add, np.multiply, abs, len, np, jax, [].append, [1].append],
    [optax.adam(0.1), optax.adam(0.2), optax.adamw(0.1), optax.adam(0.1, b1=0.8)],
    [optax.adam(optax.cosine_decay_schedule(0.1, n)) for n in (10, 11)],
    [np.random.default_rng(0), np.random.default_rng(1)],
]


@pytest.mark.parametrize("values", DIFFERENT)
def test_different_contents_have_different_digests(values):
    assert len({content_digest(value) for value in values}) == len(values)


FLOATS = st.floats(allow_nan=False)
NESTED = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=12,
)


def copied(value):
    """The same value of other objects, and dicts in the opposite order."""
    if isinstance(value, list | tuple):
        return type(value)(map(copied, value))
    if isinstance(value, dict):
        return {copied(k): copied(v) for k, v in reversed(value.items())}
    return value


@settings(deadline=None, max_examples=50)
@given(NESTED)
def test_the_digest_tells_contents_only(value):
    assert content_digest(value) == content_digest(copied(value))
    assert content_digest([value, value]) == content_digest([value, copied(value)])
    assert content_digest([value]) != content_digest(value)


@settings(deadline=None, max_examples=50)
@given(NESTED, NESTED)
def test_values_have_one_digest_only_where_they_write_out_alike(a, b):
    def written(value):
        if isinstance(value, dict):
            return sorted((k, written(v)) for k, v in value.items())
        return [type(value), *map(written, value)] if isinstance(value, list | tuple) else value

    assert (content_digest(a) == content_digest(b)) == (repr(written(a)) == repr(written(b)))


def ring(size, value):
    members = [types.SimpleNamespace(value=0) for _ in range(size)]
    for i, member in enumerate(members):
        member.next, member.all = members[(i + 1) % size], members
    members[size // 2].value = value
    return members[0]


def test_cycles_are_told_by_all_that_is_in_them():
    assert content_digest(ring(150, 1)) == content_digest(ring(150, 1))
    assert content_digest(ring(150, 1)) != content_digest(ring(150, 2))
    assert content_digest(ring(3, 1)) != content_digest(ring(4, 1))
    loop: list = []
    loop.append(loop)
    assert content_digest(loop) != content_digest([[]])


def test_depth_and_sharing_cost_little():
    deep: list = []
    shared: list = [1]
    for _ in range(20_000):
        deep = [deep, 1]
    for _ in range(60):
        shared = [shared, shared]
    assert content_digest(deep) != content_digest(shared)


class Lazy:
    def __init__(self):
        self.n = 3

    @functools.cached_property
    def table(self):
        return np.arange(self.n)


def test_an_attribute_that_is_only_kept_does_not_count():
    used = Lazy()
    assert used.table.size == 3
    assert content_digest(used) == content_digest(Lazy())


class Stateful:
    def __init__(self, n):
        self.n, self.cache = n, object()

    def __getstate__(self):
        return {"n": self.n}


class Failing:
    def __init__(self, n):
        self.n, self.lock = n, threading.Lock()

    def __reduce__(self):
        raise RuntimeError("not to be kept")


@pytest.mark.parametrize("cls", [Stateful, Failing])
def test_a_class_may_say_what_its_state_is_or_refuse(cls):
    assert content_digest(cls(1)) == content_digest(cls(1))
    assert content_digest(cls(1)) != content_digest(cls(2))


class Number(int):
    pass


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass(slots=True)
class Fields:
    x: int
    y: set


def test_subclasses_of_builtin_types_are_told_by_class_and_value():
    values = [1, Number(1), Number(2), Level.LOW, Fields(1, {1}), Fields(1, {2})]
    assert len({content_digest(value) for value in values}) == len(values)
    assert content_digest(Number(1)) == content_digest(Number(1))


def test_bytes_between_the_fields_of_records_do_not_count():
    record = np.dtype({"names": ["a"], "formats": ["i2"], "offsets": [4], "itemsize": 8})
    first, second = np.zeros((2, 8), np.uint8), np.zeros((2, 8), np.uint8)
    second[:, 0] = 7
    assert content_digest(first.view(record)) == content_digest(second.view(record))
    second[:, 4] = 7
    assert content_digest(first.view(record)) != content_digest(second.view(record))


def test_the_layout_of_an_array_does_not_count():
    table = np.arange(6.0).reshape(2, 3)
    assert content_digest(table) == content_digest(np.asfortranarray(table))
    assert content_digest(table[:, ::2]) == content_digest(table[:, ::2].copy())


def test_a_traced_array_is_told_by_its_type():
    found = []

    @jax.jit
    def traced(x):
        found.append(content_digest(closure(x)))
        return x

    traced(jnp.zeros(3))
    traced(jnp.zeros(4))
    assert found[0] != found[1]


def test_the_digest_is_that_of_every_version():
    """Of Python, NumPy and JAX: it is kept in checkpoints."""
    value = [{"a": (1, 2.5, None), "b": {"x"}}, np.arange(3, dtype="<i8"), Path("p"), slice(2)]
    assert content_digest(value) == "425042550124cc12"


def test_compiled_functions_and_types_are_told_by_name():
    tree = jax.tree.structure({"a": 1})
    methods = [type(tree).unflatten, type(tree).compose]
    assert len({content_digest(method) for method in methods}) == 2
