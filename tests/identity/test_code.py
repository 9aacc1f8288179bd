"""Functions of the user: told by their modules, by what they hold, and by installed packages."""

import ast
import contextlib
import functools
import importlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kdescent_dist
from kdescent_dist.identity import module_origins, own_modules
from kdescent_dist.identity.code import describe, describe_all
from kdescent_dist.identity.digests import source_digest_1
from kdescent_dist.identity.number_flags import number_flags
from kdescent_dist.identity.syntax_digests import syntax_digest
from kdescent_dist.models.gaussian import gaussian

PACKAGE = Path(kdescent_dist.__file__).parent


@pytest.mark.parametrize(
    "other",
    [
        "import numpy as np\ndef f(x): return np.sin(x) + 1  # a comment",
        "import numpy as np\n\n\ndef f(\n    x,\n):\n    return (np.sin(x)) + 0x1\n",
        "'A module.'\nimport numpy as np\ndef f(x):\n    'A function.'\n    return np.sin(x) + 1",
        "import os, sys\nimport numpy as np\nfrom a import b\ndef f(x): return np.sin(x) + 1",
        "def f(x): return np.sin(x) + 1\nimport numpy as np",
    ],
)
def test_looks_do_not_count(other):
    assert syntax_digest(other) == syntax_digest(
        "import numpy as np\ndef f(x): return np.sin(x) + 1"
    )


@pytest.mark.parametrize(
    "other",
    [
        "import numpy as np\ndef f(x): return np.cos(x) + 1",
        "import numpy as np\ndef f(x): return np.sin(x) + 1.0",
        "import numpy as np\ndef g(x): return np.sin(x) + 1",
        "import numpy as np\n@g\ndef f(x): return np.sin(x) + 1",
        "import numpy as np\ndef f(x, /): return np.sin(x) + 1",
        "import numpy as np\ndef f(x): return np.sin(x + 1)",
        "import jax.numpy as np\ndef f(x): return np.sin(x) + 1",
        "from . import np\ndef f(x): return np.sin(x) + 1",
        "import numpy as np\nasync def f(x): return np.sin(x) + 1",
    ],
)
def test_meaning_counts(other):
    assert syntax_digest(other) != syntax_digest(
        "import numpy as np\ndef f(x): return np.sin(x) + 1"
    )


def test_each_constant_counts():
    texts = ["'a'", "b'a'", "1", "1.0", "True", "None", "...", "'é'", "f'a'", "(1, None)", "''"]
    assert len({syntax_digest(f"x = {text}") for text in texts}) == len(texts)


# Some of all that a version of Python could write out differently.
SOURCE = r'''
"""A module."""
from __future__ import annotations
import numpy as np, os
async def g(a, /, b=1, *args: int, c, d=2.5, **kw) -> "x":
    "A function."
    async with a as b, c: await b
    async for i in x: yield i
    return f"a{b!r:>{c}}b" "c" f"{{x}} {d=} {d:} {d=!s:>3}" f"" 'é\U0001fae8' u"k" rf"\d{x}"
class C(A, metaclass=M):
    """A class."""
    x: int = 0x1fffffffffffffffffffffffffff
    y = {**a, 1: 2}
    @deco(1)
    def f(self): return lambda *, k=None: (k, 1j, 1e300, b"\x00", ..., None, True, "\d", np)
try:
    import nothing
except* ValueError as e:
    raise X from e
match x:
    case None | True: pass
    case {"a": 1, **rest} if rest: pass
    case [1, *_]: pass
    case P(a, k=2) as q: pass
with (open(a) as b, c): pass
del a, b[1:2, ::3]
x = y = [z async for z in q if z if w]
for a, *b in c:
    continue
else:
    x @= -3 ** 2
print(f"{x:{'a'}{1}}{y!a}\n" f"{ {1: 2}[1] }" f"{x:a{y}c}" f"{x:%H:%M}" f"{x:>{z}}")
'''


def test_the_digest_of_syntax_is_that_of_every_version_of_python():
    assert syntax_digest(SOURCE) == "654958e11ae460a4"


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py"))[::8], ids=lambda path: path.stem)
def test_source_written_anew_by_python_has_the_same_digest(path):
    source = path.read_text()
    assert syntax_digest(ast.unparse(ast.parse(source))) == syntax_digest(source)


def test_source_may_be_deep_but_not_wrong():
    assert syntax_digest("x = " + " + ".join("a" * 900)) != syntax_digest("x = a")
    with pytest.raises(SyntaxError):
        syntax_digest("def f(:")
    with pytest.raises(SyntaxError):
        syntax_digest("x\0")


FILES = {
    "modelling.py": '''
"""A model."""
import jax.numpy as jnp
from helping import scaled
from folder import part as other


def model(params, key, n, table=None):
    """Draw."""
    import later

    return scaled(params) + jnp.sin(later.shift(n)) + other.one


class Model:
    def __init__(self, table):
        self.table = table

    def draw(self, params):
        return params * self.table

    def __call__(self, params):
        return params


def make(scale):
    def inner(params):
        return params * scale

    return inner
''',
    "helping.py": "import numpy as np\nfrom deep import value\ndef scaled(x): return x * value\n",
    "deep.py": "value = 2\nimport json, helping\n",
    "later.py": "if True:\n    import latest\ndef shift(x): return x + latest.one\n",
    "latest.py": "import not_there\none = 1\n",
    "folder/__init__.py": "base = 1\n",
    "folder/part.py": "from .sibling import two\ndef f(): from ..outside import x\none = 1\n",
    "folder/sibling.py": "def f(): from . import last\ndef g(): from .. import y\ntwo = 2\n",
    "folder/last.py": "from kdescent_dist.models import gaussian\nfrom kdescent_dist import fit\n",
    "alone.py": "x = 1\n",
}
OWN = {"modelling", "helping", "deep", "later", "latest", "folder", "folder.part"}
OWN |= {"folder.sibling", "folder.last", "kdescent_dist.models.gaussian"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with modules of a user; a function that imports one of them anew."""
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    def forget():
        for name in {Path(file).parts[0].removesuffix(".py") for file in FILES}:
            for module in [m for m in sys.modules if m.split(".")[0] == name]:
                del sys.modules[module]
        importlib.invalidate_caches()

    def fresh(name="modelling"):
        forget()
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        try:
            return importlib.import_module(name)
        finally:
            sys.dont_write_bytecode = before

    yield fresh
    forget()


def changed(before, after):
    return {key for key in before | after if before.get(key) != after.get(key)}


def told(kind, value):
    """What is told of a kind of things, by their names."""
    found = describe(value).items()
    return {name.removeprefix(kind): text for name, text in found if name.startswith(kind)}


def test_the_modules_are_those_that_the_function_needs(project):
    module = project()
    assert told("code.", module.model).keys() == OWN
    assert not {"later", "latest"} & set(sys.modules)


@pytest.mark.parametrize(
    "make",
    [
        lambda m: m.model,
        lambda m: m.Model(1),
        lambda m: m.Model(1).draw,
        lambda m: m.Model,
        lambda m: m.make(2),
        lambda m: jax.jit(m.model),
        lambda m: functools.partial(jnp.sin, m.model),
        lambda m: optax.adam(m.make(2)),
        lambda m: lambda x: m.model(x),
        lambda m: [{"a": m}],
    ],
)
def test_a_module_is_found_through_whatever_holds_something_of_it(project, make):
    assert told("code.", make(project())).keys() >= OWN


@pytest.mark.parametrize("file", sorted({*FILES} - {"alone.py"}))
def test_a_change_of_a_module_is_told_by_its_name(project, tmp_path, file):
    module = project()
    before, scheme_1 = describe(module.model), source_digest_1(module.model)
    (tmp_path / file).write_text(FILES[file] + "\nANOTHER = 3\n")
    module = project()
    name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert changed(before, describe(module.model)) == {f"code.{name}"}
    assert (source_digest_1(module.model) == scheme_1) == (name != "modelling")


def test_comments_docstrings_and_unused_imports_change_nothing(project, tmp_path):
    module = project()
    before, scheme_1 = describe(module.model), source_digest_1(module.model)
    text = FILES["modelling.py"].replace("A model", "The model").replace("Draw.", "Draw it.")
    (tmp_path / "modelling.py").write_text(f"# A comment\n{text}\nimport os.path as path\n")
    module = project()
    assert changed(before, describe(module.model)) == set()
    assert source_digest_1(module.model) != scheme_1


def test_another_function_of_another_module_does_not_count(project, tmp_path):
    before = describe(project().model)
    (tmp_path / "alone.py").write_text("x = 2\n")
    assert describe(project().model) == before


@pytest.mark.parametrize(
    "make",
    [
        lambda m, v: m.make(v),
        lambda m, v: m.Model(v),
        lambda m, v: m.Model(v).draw,
        lambda m, v: functools.partial(m.model, table=np.where(np.arange(5000) == 2500, v, 0)),
        lambda m, v: jax.jit(m.make(v)),
    ],
)
def test_what_an_object_holds_is_told_by_the_object(project, make):
    module = project()
    assert changed(describe(make(module, 1)), describe(make(module, 2))) == {"object"}
    assert describe(make(module, 1)) == describe(make(module, 1))


def test_the_name_of_a_function_counts(project):
    module = project()
    assert changed(describe(module.model), describe(module.make)) == {"object"}
    assert changed(describe(module.Model(1).draw), describe(module.Model(1))) == {"object"}


PACKAGES = ("package.jax", "package.jaxlib", "package.numpy")
SCRIPT = '''
"""A script."""
import dataclasses, enum
import numpy as np
import jax.numpy as jnp
from deep import value

SCALE = 2.0
TABLE = np.arange(3.0)
other = 1


class Kind(enum.Enum):
    ONE = 1


@dataclasses.dataclass
class Base:
    size: float = 3.0
    names: list = dataclasses.field(default_factory=lambda: ["a"])

    def helped(self, x):
        return x + self.size


class Derived(Base):
    bonus = 4

    @property
    def twice(self):
        return 2 * self.bonus


def helper(x):
    """Help."""
    return x * SCALE + (model(x - 1) if x > 0 else 0)  # calls back


def model(x):
    import later

    return jnp.sum(helper(x) * TABLE) + Derived().helped(x) + Kind.ONE.value


def unused(x):
    return x
'''


def run(tmp_path, text):
    """The model of a script, run under a new name: the text of a file is read only once."""
    file = tmp_path / f"script{len(list(tmp_path.glob('script*')))}.py"
    file.write_text(text)
    variables = {"__name__": "__main__"}
    exec(compile(text, file, "exec"), variables)
    return variables["model"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("A script", "Another script", set()),
        ("Help.", "Help more.", set()),
        ("# calls back", "# recursion", set()),
        ("other = 1", "other = 2", set()),
        ("    return x\n", "    return -x\n", set()),
        ("SCALE = 2.0", "SCALE = 2.5", {"object"}),
        ("np.arange(3.0)", "np.arange(3.0) + 1", {"object"}),
        ("x - 1", "x - 2", {"object"}),
        ("ONE = 1", "ONE = 2", {"object"}),
        ("size: float = 3.0", "size: float = 3.5", {"object"}),
        ('["a"]', '["b"]', {"object"}),
        ("x + self.size", "x - self.size", {"object"}),
        ("bonus = 4", "bonus = 5", {"object"}),
        ("2 * self", "3 * self", {"object"}),
        ("class Derived(Base)", "class Derived(Base, dict)", {"object"}),
        ("import jax.numpy as jnp", "import numpy as jnp", {"object", *PACKAGES}),
        ("    import later\n", "", {"code.later", "code.latest"}),
    ],
)
def test_a_function_of_a_script_is_told_by_what_it_refers_to(project, tmp_path, old, new, told):
    project("deep")
    before = describe(run(tmp_path, SCRIPT))
    assert old in SCRIPT
    after = describe(run(tmp_path, SCRIPT.replace(old, new)))
    assert changed(before, after) == told


@pytest.mark.slow
def test_a_script_has_one_identity_in_every_process(project, tmp_path):
    end = "import json\nfrom kdescent_dist.identity.code import describe\n"
    (tmp_path / "main.py").write_text(f"{SCRIPT}\n{end}print(json.dumps(describe(model)))")

    def identity(seed):
        result = subprocess.run(
            [sys.executable, "main.py"],
            env=os.environ | {"PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            check=True,
        )
        return json.loads(result.stdout)

    with ThreadPoolExecutor() as pool:
        first, second = pool.map(identity, ("1", "2"))
    assert first == second == describe(run(tmp_path, SCRIPT))


def test_lambdas_on_one_line_are_told_apart(tmp_path):
    text = "model = [lambda x: x + 1, lambda x: x + 2, lambda x: lambda y: x + 1, lambda x: x + 1]"
    digests = [describe(f)["object"] for f in run(tmp_path, text)]
    assert len(set(digests)) == 3
    assert digests[0] == digests[3]


def test_a_function_without_source_is_told_by_its_names_and_constants():
    def typed(text):
        variables = {"__name__": "__main__", "SCALE": 2}
        exec(text, variables)
        return variables["f"]

    texts = ["x + 1", "x + 2", "x + SCALE", "sum(y + 7 for y in x)", "sum(y + 8 for y in x)"]
    functions = [typed(f"def f(x):\n    'Text.'\n    return {text}") for text in texts]
    assert len({describe(f)["object"] for f in functions}) == len(texts)
    again = [typed(f"def f(x):\n    'Other text.'\n    return {text}") for text in texts]
    assert [describe(f) for f in functions] == [describe(f) for f in again]


def test_no_function_has_an_identity_too():
    assert describe(None) == {"object": "none"}


def test_the_shipped_models_count_like_those_of_the_user():
    found = describe(gaussian)
    assert {"object", "code.kdescent_dist.models.gaussian", "package.jax"} <= set(found)
    assert not [key for key in found if key.startswith("code") and ".models." not in key]
    assert not [key for key in found if "kdescent-dist" in key]


def test_the_shipped_models_do_so_where_the_package_is_installed(monkeypatch):
    before = describe(gaussian)
    monkeypatch.setattr(module_origins, "_is_installed", lambda file: True)
    assert describe(gaussian) == before


def test_a_compiled_function_of_another_package_is_told_by_its_name():
    """The cosmologies of astropy hold functions of Cython, whose module has no file."""
    from astropy.cosmology import FlatLambdaCDM, Planck18

    found = [describe(cosmology)["object"] for cosmology in (Planck18, FlatLambdaCDM(70, 0.3))]
    assert found[0] != found[1]
    assert found[1] == describe(FlatLambdaCDM(70, 0.3))["object"]


def test_an_object_that_cannot_be_looked_into_is_told_by_its_name(caplog):
    class Closed:
        def __reduce_ex__(self, protocol):
            raise RuntimeError("no")

        __getstate__ = __reduce_ex__

    first, second = (describe_all({"model": Closed()}) for _ in range(2))
    assert first == second
    assert "model" in first


def test_packages_are_those_that_the_modules_import(project):
    found = told("package.", project().model)
    assert set(found) == {"jax", "jaxlib", "numpy"}
    assert found["numpy"] == np.__version__
    assert told("package.", optax.adam(0.1))["optax"] == optax.__version__


def test_a_new_version_of_a_package_is_told(project, tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(folder)
    (folder / "imported_here").mkdir(parents=True)
    (folder / "imported_here/__init__.py").write_text("")
    (tmp_path / "latest.py").write_text("import imported_here\none = 1\n")

    def with_version(version):
        info = folder / "Some_Package.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Name: Some.Package\nVersion: {version}\n")
        (info / "top_level.txt").write_text("imported_here\n")
        own_modules._distributions.cache_clear()
        importlib.invalidate_caches()
        return describe(project().model)

    old, new = with_version("1.0"), with_version("1.1")
    own_modules._distributions.cache_clear()
    assert (old["package.some-package"], new["package.some-package"]) == ("1.0", "1.1")
    assert changed(old, new) == {"package.some-package"}


@pytest.mark.as_shipped
def test_the_defaults_of_the_settings_are_those_of_this_jax(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    assert number_flags() == {}


@pytest.mark.as_shipped
def test_settings_that_change_numbers_are_told(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    with (
        contextlib.ExitStack() as stack,
        jax.threefry_partitionable(False),
        jax.default_matmul_precision("highest"),
        jax.numpy_dtype_promotion("strict"),
    ):
        unoptimized = "jax_disable_most_optimizations"
        jax.config.update(unoptimized, True)
        stack.callback(jax.config.update, unoptimized, False)
        assert number_flags() == {
            "flag.NVIDIA_TF32_OVERRIDE": "0",
            "flag.jax_default_matmul_precision": "highest",
            "flag.jax_disable_most_optimizations": "True",
            "flag.jax_numpy_dtype_promotion": "strict",
            "flag.jax_threefry_partitionable": "False",
        }


@pytest.mark.as_shipped
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", {}),
        ("--xla_force_host_platform_device_count=8 --xla_dump_to=/tmp/x", {}),
        (
            "--xla_gpu_enable_command_buffer= --xla_gpu_deterministic_ops",
            {"gpu_deterministic_ops": "true"},
        ),
        ("--xla_b=2  --xla_a=1 --xla_b=3", {"a": "1", "b": "3"}),
        ("--xla_a='1 2'", {"a": "1 2"}),
        ("--xla_a='", {"a": "'"}),
        ("no/such/file", {}),
    ],
)
def test_flags_of_xla_are_told_unless_they_change_no_number(monkeypatch, text, told):
    monkeypatch.setenv("XLA_FLAGS", text)
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    assert number_flags() == {f"flag.--xla_{name}": value for name, value in told.items()}


@pytest.mark.as_shipped
def test_flags_of_xla_may_be_in_a_file(monkeypatch, tmp_path):
    (tmp_path / "flags").write_text("--xla_a=1\n--xla_dump_to=x\n")
    monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "flags"))
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    assert number_flags() == {"flag.--xla_a": "1"}
