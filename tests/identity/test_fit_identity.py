"""A fit is continued only where nothing has changed that decides its result."""

import dataclasses
import json
import sys

import jax
import numpy as np
import optax
import pytest

from kdescent_dist.bins.bin import expand_bins
from kdescent_dist.bins.pretrained import pretrain_bin
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import BinsConfig, CheckpointConfig, FitConfig, LossConfig
from kdescent_dist.fitting.checkpoints import latest_step
from kdescent_dist.fitting.loop import fit
from kdescent_dist.identity import code as code_identity
from kdescent_dist.identity.fit_identity import FitIdentity
from kdescent_dist.objective.loss_function import LossObjective
from support import fits, problems


def power(params, randkey=None, exponent=2, table=None):
    del randkey
    return ((params - 1.0) ** exponent).sum() + (0.0 if table is None else table[1500])


def run(folder, objective=None, optimizer=None, steps=3, **options):
    return fit(
        objective or LossObjective(power),
        [0.0, 4.0],
        optimizer or optax.adam(0.1),
        config=FitConfig(finish="none", steps=steps),
        checkpoints=folder,
        **options,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # The first two have a state of the same shapes.
        ({"optimizer": optax.adam(0.2)}, r"optimizer: 2:\w+ -> 2:\w+"),
        ({"optimizer": optax.adamw(0.1)}, r"optimizer: 2:\w+ -> 2:\w+"),
        ({"objective": LossObjective(power, {"exponent": 4})}, "options: "),
        ({"schedule": lambda key, step: (key, key)}, "schedule: "),
    ],
)
def test_from_python_another_fit_is_refused_and_its_checkpoints_left_alone(
    tmp_path, changes, message
):
    run(tmp_path)
    for _ in range(2):
        with pytest.raises(InputError, match=rf"step 3 is of another fit:\n  {message}"):
            run(tmp_path, steps=5, **changes)
    assert latest_step(tmp_path) == 3
    assert not list(tmp_path.glob("*.damaged*"))
    assert len(run(tmp_path, steps=5).losses) == 6


def test_a_table_of_which_one_entry_differs_is_another_fit(tmp_path):
    """NumPy shortens what it prints beyond 1,000 entries."""
    tables = np.zeros((2, 2000), np.float32)
    tables[1, 1500] = 1.0
    first, second = (lambda params, randkey=None, t=t: power(params, table=t) for t in tables)
    run(tmp_path, LossObjective(first))
    run(tmp_path, LossObjective(first), steps=4)
    with pytest.raises(InputError, match="another fit:\n  loss: "):
        run(tmp_path, LossObjective(second), steps=5)


ONE = problems.GRIDS["one"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "bin_", "message"),
    [
        ({"loss": LossConfig(weights={"kde": 2.0})}, ONE, r"loss\.weights\.kde: default -> 2\.0"),
        ({"loss": LossConfig(kind="chisq")}, ONE, r"loss\.kind: default -> chisq"),
        ({}, BinsConfig(**{**vars(ONE), "weight": 3.0}), r"bins\.one\.weight: 2\.0 -> 3\.0"),
        ({}, BinsConfig(**{**vars(ONE), "normalization": "counts"}), "bins.one.normalization: "),
        ({"reproducible": False}, ONE, r"sums\.reproducible: True -> False"),
    ],
)
def test_the_loss_and_the_bins_are_part_of_a_fit_from_python(tmp_path, options, bin_, message):
    def continued(steps, bin_=ONE, **options):
        return fit(
            problems.objective(problems.pretrained({"one": bin_}), kernel_blocks=1, **options),
            problems.GUESS,
            fits.ADAM,
            bounds=problems.BOUNDS,
            names=problems.NAMES,
            config=FitConfig(finish="none", steps=steps),
            checkpoints=tmp_path,
        )

    continued(2)
    with pytest.raises(InputError, match=message):
        continued(4, bin_, **options)


@pytest.mark.parametrize(
    ("kind", "normalization", "told"),
    [("mse", "conditional", False), ("chisq", "counts", False), ("chisq", "density", True)],
)
def test_a_fit_to_chi_square_by_an_early_version_is_refused_where_its_errors_were_others(
    kind, normalization, told
):
    bins = problems.pretrained({"one": BinsConfig(**{**vars(ONE), "normalization": normalization})})
    now = problems.objective(bins, loss=LossConfig(kind=kind)).identity
    saved = {"format": 3, **{name: value for name, value in now.items() if name != "errors"}}
    lines = FitIdentity(now).differences(saved)
    assert lines == (["errors: default -> of normalized counts"] if told else [])
    assert FitIdentity(now, accept=["errors"]).differences(saved) == []


def test_a_setting_of_jax_that_changes_numbers_is_part_of_a_fit(tmp_path):
    run(tmp_path)
    before = jax.config.jax_threefry_partitionable
    jax.config.update("jax_threefry_partitionable", not before)
    try:
        with pytest.raises(InputError, match=r"flag\.jax_threefry_partitionable: default -> "):
            run(tmp_path, steps=5)
    finally:
        jax.config.update("jax_threefry_partitionable", before)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A loss in a module of its own, which takes a number from a helper module."""
    (tmp_path / "own_helper.py").write_text("SCALE = 2.0\n")
    (tmp_path / "own_loss.py").write_text(
        "import own_helper\nimport jax.numpy as jnp\n\n\n"
        "def loss(params, randkey=None):\n    return own_helper.SCALE * jnp.sum(params**2)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def imported():
        for name in ("own_loss", "own_helper"):
            sys.modules.pop(name, None)
        import own_loss

        return LossObjective(own_loss.loss)

    yield tmp_path, imported
    for name in ("own_loss", "own_helper"):
        sys.modules.pop(name, None)


def test_a_module_that_the_model_imports_is_part_of_a_fit_but_not_its_comments(own):
    folder, imported = own
    run(folder / "fit", imported())
    (folder / "own_helper.py").write_text("# A remark, and the same number.\nSCALE = 2.0\n")
    run(folder / "fit", imported(), steps=4)
    (folder / "own_helper.py").write_text("SCALE = 3.0\n")
    with pytest.raises(InputError, match=r"another fit:\n  code\.own_helper: 2:\w+ -> 2:\w+\n"):
        run(folder / "fit", imported(), steps=5)


def test_another_version_of_a_package_is_refused_unless_accepted(own, monkeypatch, caplog):
    folder, imported = own
    run(folder / "fit", imported())
    known = code_identity.versions
    newer = {"jax": "9.9.9"}
    monkeypatch.setattr(code_identity, "versions", lambda tops: {**known(tops), **newer})
    with pytest.raises(InputError, match=r"another fit:\n  package\.jax: [\d.]+ -> 9\.9\.9\n"):
        run(folder / "fit", imported(), steps=5)
    accepting = CheckpointConfig(accept=["package.*"])
    run(folder / "fit", imported(), steps=5, checkpoint=accepting)
    assert "accepted by checkpoint.accept: package.jax: " in caplog.text
    # What was saved since then knows the new version.
    run(folder / "fit", imported(), steps=6)


@pytest.mark.slow
def test_values_of_numpy_in_a_config_are_saved_and_compared(tmp_path):
    def continued(steps, edges):
        bin_ = BinsConfig(
            columns=["red"],
            edges={"mass": edges},
            kernels=np.int64(6),
            fourier=0,
            pretrain_kernels=60,
        )
        return fit(
            problems.objective(problems.pretrained({"one": bin_}), kernel_blocks=1),
            problems.GUESS,
            fits.ADAM,
            bounds=problems.BOUNDS,
            config=FitConfig(finish="none", steps=steps),
            checkpoints=tmp_path,
        )

    continued(2, np.linspace(0.0, 1.0, 3, dtype=np.float32))
    continued(3, (0.0, 0.5, 1.0))
    with pytest.raises(InputError, match=r"bins\.one\.edges\.mass: \[0.0, 0.5, 1.0\] -> "):
        continued(4, [0.0, 0.4, 1.0])


def test_a_fit_from_python_knows_its_optimizer_in_a_form_that_later_versions_have(tmp_path):
    """By the version of its package and what it holds, not by the code of this one's schedule."""
    run(tmp_path)
    meta = json.loads((tmp_path / "3/meta/metadata").read_text())["identity"]
    assert meta["optimizer"].startswith("2:")
    assert meta["package.optax"] == optax.__version__
    assert not {"schedule", "fit.fixed_key"} & meta.keys()


def test_a_change_may_be_accepted_by_its_name_also_of_an_earlier_format(caplog):
    saved = {"format": 2, "model": "0123", "guess": [1.0]}
    identity = FitIdentity({}, before={"model": "4567", "guess": [1.0]})
    assert identity.differences(saved) == ["model: 0123 -> 4567"]
    accepting = dataclasses.replace(identity, accept=["mod*"])
    assert accepting.differences(saved) == []
    assert "accepted by checkpoint.accept: model: 0123 -> 4567" in caplog.text


def test_a_shipped_model_may_be_written_otherwise_by_another_version_alone(caplog):
    name = "code.kdescent_dist.models.gaussian"
    saved = FitIdentity({name: "2:a"}, version="1.0").to_save()
    assert FitIdentity({name: "2:b"}, version="1.0").differences(saved) == [f"{name}: 2:a -> 2:b"]
    assert FitIdentity({name: "2:b"}, version="1.1").differences(saved) == []
    assert "another version of this package" in caplog.text
    own = FitIdentity({"code.mine": "2:a"}, version="1.0").to_save()
    assert FitIdentity({"code.mine": "2:b"}, version="1.1").differences(own)


def test_a_later_format_is_refused():
    assert FitIdentity({}).differences({"format": 4}) == [
        "format: 4 -> 3, which cannot be continued"
    ]


def test_what_is_at_its_default_may_be_missing_on_either_side():
    identity = FitIdentity({"a": 1, "loss": {"kde": [1, 2.0]}})
    assert identity.differences({"format": 3, "a": 1, "loss": {"kde": [1, 2.0]}}) == []
    assert identity.differences({"format": 3, "loss": {"kde": [1, 2.0]}}) == ["a: default -> 1"]
    assert FitIdentity({}).differences({"format": 3, "a": 1}) == ["a: 1 -> default"]


def test_numbers_that_are_no_numbers_are_equal():
    assert FitIdentity({"a": float("nan")}).differences({"format": 3, "a": float("nan")}) == []


def test_a_fit_from_python_with_widths_of_before_is_refused_with_what_continues_it():
    counts = {"training catalog": "a"}, {"training catalog": "b"}
    now = FitIdentity({**counts[1], "column widths": "robust: x in one"})
    with pytest.raises(InputError) as refused:
        now.check("the checkpoint", {"format": 3, **counts[0]})
    assert "\n  column widths: default -> robust: x in one\n" in str(refused.value)
    hint = "To continue it as an earlier version would, set bins.NAME.column_width=deviation."
    assert hint in str(refused.value)


def test_only_columns_with_other_widths_have_a_part_in_the_identity(bins):
    assert "column widths" not in problems.objective(bins).identity
    rng = np.random.default_rng(0)
    columns = {"red": rng.standard_cauchy(500), "blue": rng.normal(size=500)}
    (bin_,) = expand_bins({"one": BinsConfig(columns=["red", "blue"], pretrain_kernels=60)})
    found = problems.objective([pretrain_bin(bin_, columns)]).identity
    assert found["column widths"] == "robust: red in one"
