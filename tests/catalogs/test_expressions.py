"""Expressions of columns: what they give, what they read, and what they refuse."""

import contextlib
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdescent_dist.catalogs.expressions import evaluate
from kdescent_dist.catalogs.grammar import FUNCTIONS, entries_in, quote
from kdescent_dist.config.errors import InputError

KEY = "catalog.columns.g_r"


@pytest.fixture
def columns():
    return {
        "g": np.array([1.0, 2.0, 3.0], dtype=np.float32),
        "r": np.array([0.5, -1.0, 9.0], dtype=">f8"),
        "n": np.array([1, 2, 4], dtype=np.uint8),
        "flag": np.array([True, False, True]),
        "FLUX": np.arange(6, dtype=">i2").reshape(3, 2),
        "phot/mag g": np.array([7.0, 8.0, 9.0]),
        "log": np.array([10.0, 100.0, 1000.0]),
        "name": np.array(["a", "b", "c"]),
    }


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("g - r", [0.5, 3.0, -6.0]),
        ("-g + 2 * (r - 1) / 4", [-1.25, -3.0, 1.0]),
        ("g ** 2 % 3 // 1", [1.0, 1.0, 0.0]),
        ("n ** -1", [1.0, 0.5, 0.25]),
        ("n - 2", [-1, 0, 2]),
        ("10 ** (-0.4 * g)", 10 ** (-0.4 * np.array([1.0, 2.0, 3.0]))),
        ("pi * g", np.pi * np.array([1.0, 2.0, 3.0])),
        ("where(g > 1.5, g, -1)", [-1.0, 2.0, 3.0]),
        ("maximum(minimum(g, 2.5), 1.5)", [1.5, 2.0, 2.5]),
        ("log10(log) + log", [11.0, 102.0, 1003.0]),
        ("FLUX[1] - FLUX[0]", [1, 1, 1]),
        ("FLUX[-1]", [1, 3, 5]),
        ("`phot/mag g` - 6", [1.0, 2.0, 3.0]),
    ],
)
def test_arithmetic_is_row_by_row_in_double_precision(columns, expression, expected):
    value = evaluate(expression, columns, KEY)
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    assert value.dtype.isnative
    assert value.dtype.itemsize == 8


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("g > 1", [False, True, True]),
        ("1 < g < 3", [False, True, False]),
        ("1 <= g < 3 < 4 != n", [True, True, False]),
        ("g > 1 and r > 0", [False, False, True]),
        ("g < 2 or r > 0 and flag", [True, False, True]),
        ("not flag", [False, True, False]),
        ("not (g == 1 or n == 2)", [False, False, True]),
        ("(n & 6) != 0", [False, True, True]),
        ("~flag | (g > 2)", [False, True, True]),
        ("n & 1 == 1 and g > 0", [True, False, False]),
        ("isfinite(sqrt(r))", [True, False, True]),
    ],
)
def test_logic_is_element_by_element(columns, expression, expected):
    value = evaluate(expression, columns, KEY)
    assert value.dtype == bool
    assert value.tolist() == expected


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_is_that_of_numpy(name):
    x = np.array([0.3, 0.7])
    y = np.array([0.5, 0.2])
    arguments = {"where": "x > 0.5, x, y", "arctan2": "x, y", "minimum": "x, y", "maximum": "x, y"}
    value = evaluate(f"{name}({arguments.get(name, 'x')})", {"x": x, "y": y})
    numpy_arguments = {"where": (x > 0.5, x, y), "arctan2": (x, y)}
    pair = (x, y) if name in ("minimum", "maximum") else (x,)
    np.testing.assert_array_equal(value, getattr(np, name)(*numpy_arguments.get(name, pair)))


def test_undefined_values_are_nan_without_a_warning(columns):
    with warnings.catch_warnings(action="error"):
        value = evaluate("log10(r) + sqrt(r) + g / (g - 2)", columns, KEY)
        evaluate("exp(1000 * g) - exp(1000 * g)", columns, KEY)
        evaluate("0 ** -1 * g", columns, KEY)
    assert np.isfinite(value).tolist() == [True, False, True]


def test_an_expression_without_columns_is_a_number(columns):
    assert evaluate("2 * 3", columns, KEY).shape == ()


def test_the_columns_that_are_used_can_be_told_without_the_file():
    expression = "log10(g) - FLUX[3] / `phot/mag g` + where(flag, FLUX[-1], pi)"
    assert {name for name, _ in entries_in(expression)} == {"g", "FLUX", "phot/mag g", "flag"}
    assert entries_in("FLUX[3] - FLUX[-1] + g") == {("FLUX", 3), ("FLUX", -1), ("g", None)}


@given(st.text(alphabet=st.characters(exclude_characters="`", codec="utf-8"), min_size=1))
def test_a_column_of_any_name_can_be_quoted(name):
    assert entries_in(quote(name)) == {(name, None)}
    assert evaluate(quote(name), {name: np.array([1.0, 2.0])}).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "not an expression"),
        ("g -", "not a valid expression"),
        ("g; r", "not a valid expression"),
        ("import os", "not a valid expression"),
        ("x = g", "not a valid expression"),
        ("g.real", "an attribute"),
        ("g.__class__", "an attribute"),
        ("__import__('os')", "unknown function __import__"),
        ("log2(g)", "did you mean log"),
        ("g.sum()", "not a function name"),
        ("(lambda: g)()", "not a function name"),
        ("lambda: g", "Lambda"),
        ("[g for g in r]", "ListComp"),
        ("(g, r)", "Tuple"),
        ("{1: g}", "Dict"),
        ("'text'", "the text 'text': it can only be compared"),
        ("f'{g}'", "JoinedStr"),
        ("1j * g", "1j, which is not a number"),
        ("g if flag else r", "where(condition, a, b)"),
        ("(y := g)", "NamedExpr"),
        ("g @ r", "MatMult"),
        ("g is r", "Is"),
        ("g in r", "In"),
        ("g[0:1]", "column[integer]"),
        ("FLUX[n]", "column[integer]"),
        ("(g + FLUX)[0]", "column[integer]"),
        ("sqrt(g, r)", "takes 1 argument"),
        ("where(g > 1)", "takes 3 arguments"),
        ("sqrt(x=g)", "takes 1 argument"),
        ("sqrt(*g)", "Starred"),
        ("h - r", "no column 'h'"),
        ("name", "not numeric"),
        ("FLUX", "2 entries in each row"),
        ("FLUX[2]", "FLUX has 2 entries"),
        ("g[0]", "g is not a vector column"),
        ("g and r > 0", "and, or, not take comparisons"),
        ("FLUX + g", "could not be broadcast"),
        ("1 / 0", "division by zero"),
        ("g & 1", "&, | and ~ take comparisons and integers"),
        ("~g", "a flag with missing values is a number: write flag == 1"),
        ("g > 0.5 & r < 7", "write (x > 0) & (y < 1), or x > 0 and y < 1"),
        ("flag & (n > 0) | n == 3", "& and | of a comparison and a number: write (x > 0)"),
        ("class == 'GALAXY'", "a column that is named class is written in backquotes: `class`"),
        ("g g", "has a name of several words is written in backquotes: `2MASS J`"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_key(columns, expression, reason):
    with pytest.raises(InputError, match=r"catalog\.columns\.g_r: ") as caught:
        evaluate(expression, columns, KEY)
    assert reason in str(caught.value)


@pytest.mark.parametrize("expression", ["9 ** 9 ** 9", "-" * 3000 + "g", "(" * 3000, "+g" * 3000])
def test_no_expression_hangs_or_overflows(columns, expression):
    """A monstrous expression gives a value or an InputError, in no time."""
    with contextlib.suppress(InputError):
        assert evaluate(expression, columns, KEY).ndim <= 1


@pytest.mark.parametrize("values", [np.ones((2, 2, 2)), np.array([1j]), np.array([None, 1.0])])
def test_only_real_columns_and_vectors_are_taken(values):
    with pytest.raises(InputError, match="column 'x'"):
        evaluate("x", {"x": values}, KEY)


@given(st.floats(allow_nan=False), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
def test_single_precision_is_compared_as_if_it_were_double(number, comparison):
    number = float(f"{abs(number):.6g}")
    with np.errstate(over="ignore"):
        near = np.float32(number)
    beside = [near, *np.nextafter(near, np.array([-np.inf, np.inf], np.float32))]
    x = np.array([*beside, np.nan, np.inf, -np.inf], np.float32)
    for text, signed in ((f"{number}", x), (f"-{number}", -x)):
        wide = signed.astype(np.float64)
        if np.isinf(number):
            text = text.replace("inf", "1e999")
        for expression in (f"x {comparison} {text}", f"{text} {comparison} x"):
            expected = evaluate(expression, {"x": wide})
            np.testing.assert_array_equal(evaluate(expression, {"x": signed}), expected)
        assert evaluate(f"{text} < x < {text}", {"x": signed}).sum() == 0


SINGLE = st.floats(width=32)


@given(st.lists(st.tuples(SINGLE, SINGLE), min_size=1, max_size=8), st.sampled_from("+-"))
def test_sums_in_single_precision_have_the_bits_of_rounded_double_precision(pairs, sign):
    columns = dict(zip("xy", np.array(pairs, np.float32).T, strict=True))
    into = np.empty(len(pairs), np.float32)
    assert evaluate(f"x {sign} y", columns, into=into) is into
    with np.errstate(over="ignore"):
        rounded = evaluate(f"x {sign} y", columns).astype(np.float32)
    np.testing.assert_array_equal(into, rounded)


@pytest.mark.parametrize("expression", ["x - y - y", "x * y", "x - 0.1", "x - n", "x - w", "-x"])
def test_other_values_are_computed_in_double_precision(expression):
    x, y = np.random.default_rng(0).normal(size=(2, 50)).astype(np.float32)
    columns = {"x": x, "y": y, "w": y.astype(np.float64) / 3, "n": np.arange(50)}
    value = evaluate(expression, columns, into=np.empty(50, np.float32))
    np.testing.assert_array_equal(value, evaluate(expression, columns))
    assert value.dtype == np.float64


def test_integers_keep_all_their_digits():
    wide = {"id": np.array([2**53, 2**53 + 1]), "flags": np.array([2**63], dtype=np.uint64)}
    assert evaluate("id == 9007199254740993", wide).tolist() == [False, True]
    assert evaluate("flags & 9223372036854775808 > 0", wide).tolist() == [True]
    assert evaluate("flags & 4 > 0 or ~(flags & 4 > 0)", wide).tolist() == [True]
    assert evaluate("(flags | 4) & 4", wide).tolist() == [4]
