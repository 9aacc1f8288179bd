"""The loss of sums over a population, which a fit minimizes.

The loss is the mean of all squared residuals, each times its weight, plus ``loss.custom``. The
residuals are differences between model and training catalog, plain (``mse``) or in units of their
errors (``chisq``): of the counts of kernels, modes and further statistics, and of number densities.
The prior of the parameters adds -2 log p to the sum of squares whose mean is taken.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.bins.pretrained import PretrainedBin
from kdescent_dist.bins.stacks import StackArrays, stack_bins
from kdescent_dist.bins.sums import (
    DrawnPoints,
    draw_points,
    squares_of_stack,
    stack_sums,
    sums_of_stack,
)
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameter_tree import ParameterTree
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.problem import flatten, non_default
from kdescent_dist.config.schema import CountsConfig, LossConfig
from kdescent_dist.config.validation import check_values
from kdescent_dist.counts.backends import check_backend
from kdescent_dist.counts.statistics import ordered
from kdescent_dist.distributed.mesh import make_mesh, platform_of
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.distributed.sample_blocks import SampleBlocks
from kdescent_dist.identity.code import describe_all, is_shipped
from kdescent_dist.identity.digests import block_digests, combined, digest, source_digest_1
from kdescent_dist.identity.earlier_settings import WIDTHS
from kdescent_dist.models.block_model import INPUT_WEIGHTS, BlockModel, Model, model_errors
from kdescent_dist.models.population import Population
from kdescent_dist.numerics.arrays import check_integers, unmasked
from kdescent_dist.numerics.dataflow import depends_on
from kdescent_dist.numerics.full_precision import full_precision
from kdescent_dist.numerics.prng import draw_key
from kdescent_dist.objective.alike import blocks_alike
from kdescent_dist.objective.chain_rule import DEFAULT_MEMORY, ChainRule, SumsLoss
from kdescent_dist.objective.chosen_backend import chosen_backend
from kdescent_dist.objective.log_prior import LogPrior
from kdescent_dist.objective.presort import fixed_orders
from kdescent_dist.objective.programs import Programs
from kdescent_dist.objective.terms import Sums, by_group, check_prior, check_terms, mean_square
from kdescent_dist.objective.units import UnitSums

log = logging.getLogger(__name__)


# Attributes of ``KPretrainer`` in the digest of the training catalog. Attributes of later versions
# are left out, because with them a fit could not resume from an earlier checkpoint.
_COUNTED = (
    "kernel_centers",
    "fourier_positions",
    "kernelcov",
    "kde_counts",
    "kde_err",
    "fourier_counts",
    "fourier_err",
    "num_eval_kernels",
    "num_eval_fourier_positions",
    "num_pretrain_kernels",
    "num_pretrain_fourier_positions",
    "bandwidth_factor",
    "fourier_range_factor",
    "covariant_kernels",
    "inverse_density_weight_power",
    "training_sum_of_weights",
    "seed",
)


def _counted(pretrained: PretrainedBin) -> dict[str, Any]:
    counts = pretrained.counts
    known = {name: getattr(counts, name) for name in _COUNTED} if counts is not None else {}
    if pretrained.further:
        further = {
            name: [
                counts.points.each,
                counts.points.common,
                # Counts of the catalog follow from the catalog; their last bits may differ.
                *([counts.values, counts.errors] if counts.given else []),
            ]
            for name, counts in pretrained.further.items()
        }
        known["further"] = [further, pretrained.training_sum, pretrained.number_err]
    return known


def _errors(loss: LossConfig, bins: Sequence[PretrainedBin]) -> dict[str, str]:
    """How errors are computed that enter the loss, where early versions computed others."""
    counted = [
        b
        for b in bins
        if b.bin.config.normalization != "counts"
        and (loss.model_errors or not all(c.given for c in b.statistics.values()))
    ]
    return {"errors": "of normalized counts"} if loss.of_steps == "chisq" and counted else {}


class PopulationObjective:
    """The loss of a population model against pretrained bins, sharded over a mesh.

    Args:
        model: ``model(params, key, catalog) -> Population``, see
            ``kdescent_dist.models.population``.
        parameters: parameters, of which the model takes the tree, with their priors; or names of
            scalar parameters, of which the model takes a dict.
        bins: pretrained bins.
        training_weight: sum of the weights of the training catalog.
        size: samples per step; by default the rows of ``catalog``.
        catalog: columns (n,) of the input catalog of the model, none for a generative model.
        catalog_weights: (n,) weights of the input catalog, which multiply the model's weights.
        first_row: number of the first row of ``catalog``, if ``catalog`` has only the rows of this
            process's devices (``SampleBlocks.rows``); ``size`` is then the number of all rows.
        columns: column names, if the model returns a plain array.
        loss: terms of the loss.
        custom: ``custom(sums, truth, params) -> scalar``, added to the loss; ``params`` as for the
            model.
        extra_sums: ``extra_sums(population) -> pytree``, additive over samples.
        mesh: devices, by default all.
        block_size: samples per block, see ``SampleBlocks``.
        memory: on GPUs, bytes of a device for what the gradient needs of the blocks.
        kernel_blocks: number of blocks of kernels, by default the size of the mesh's kernels axis.
        reproducible: the reduction, see ``ChainRule``.
        counts: config of the counts; options of the pretraining do not matter here.
        dtype: floating-point type.
        deterministic: whether the model is meant to ignore its key.
        model_checked: whether the model passed ``BlockModel.check``, at parameters of the fit.

    Raises:
        InputError: arguments are not valid or do not fit together; a column of ``catalog`` has a
            value that is masked, not finite, or an integer that ``dtype`` would round; or the
            model fails, returns copies of a row side by side, or has random numbers that do not
            follow from its key.
    """

    def __init__(
        self,
        model: Model,
        parameters: Parameters | Sequence[str],
        bins: Sequence[PretrainedBin],
        *,
        training_weight: float,
        size: int | None = None,
        catalog: Mapping[str, np.ndarray] | None = None,
        catalog_weights: np.ndarray | None = None,
        first_row: int | None = None,
        columns: Sequence[str] = (),
        loss: LossConfig | None = None,
        custom: Callable[[Sums, Sums, Any], jax.Array] | None = None,
        extra_sums: Callable[[Population], Any] | None = None,
        mesh: jax.sharding.Mesh | None = None,
        block_size: int | None = None,
        memory: float = DEFAULT_MEMORY,
        kernel_blocks: int | None = None,
        reproducible: bool = True,
        counts: CountsConfig | None = None,
        dtype: Any = np.float32,
        deterministic: bool = False,
        model_checked: bool = False,
    ) -> None:
        catalog = {name: unmasked(values) for name, values in (catalog or {}).items()}
        if catalog_weights is not None:
            catalog[INPUT_WEIGHTS] = unmasked(catalog_weights)
        rows = {len(values) for values in catalog.values()}
        if len(rows) > 1:
            raise InputError(f"input catalog: its columns have different lengths {sorted(rows)}")
        size = size or next(iter(rows), None)
        if not size:
            raise InputError("samples.size: needed for a model without an input catalog")
        if first_row is None and rows and size != next(iter(rows)):
            raise InputError(f"samples.size={size}, but the input catalog has {rows.pop()} rows")
        if not bins:
            raise InputError("bins: at least one is needed")
        if isinstance(parameters, Parameters):
            tree, self.prior = parameters.tree, LogPrior.of(parameters)
        else:
            tree, self.prior = ParameterTree.of_names(parameters), None
        self.names = tree.names
        self.bins = tuple(bins)
        self.config = loss or LossConfig()
        check_values(self.config, "loss")
        compared = {p.bin.name: p.bin.config for p in bins}
        check_terms(self.config, compared, custom=custom is not None)
        if isinstance(parameters, Parameters) and self.prior is not None:
            check_prior(self.config, next(iter(self.prior.told())))
            self.prior.check(parameters.guess.astype(dtype))
        self.custom = None if custom is None else full_precision()(custom)
        self.extra_sums = None if extra_sums is None else full_precision()(extra_sums)
        self.mesh = mesh or make_mesh()
        self.processes = Processes.of(self.mesh)
        self.processes.together(lambda: _check_input(catalog, dtype))
        self.layout = SampleBlocks.of(size, block_size)
        self.model = BlockModel(model, tree, tuple(columns), self.layout, deterministic)
        inputs = {n: np.asarray(values) for n, values in catalog.items() if n != INPUT_WEIGHTS}
        if not model_checked:
            self.processes.together(lambda: _check_copies(self.model, inputs, dtype))
            given = parameters if isinstance(parameters, Parameters) else None
            for text in self.processes.together(lambda: _traits(self.model, inputs, dtype, given)):
                log.warning("%s", text)
        self.chain_rule = ChainRule(
            self.layout,
            self.mesh,
            kernel_blocks or self.mesh.shape["kernels"],
            reproducible,
            memory=memory,
        )
        counts = counts or CountsConfig()
        check_values(counts, "counts")
        check_backend(counts.backend, "counts.backend")
        platform = platform_of(self.mesh)
        if counts.backend == "pallas" and platform != "gpu":
            raise InputError(
                f"counts.backend=pallas: needs an NVIDIA GPU, Hopper or later, not a {platform}: "
                "use counts.backend=auto"
            )
        self.dtype = dtype
        self.backend = chosen_backend(
            counts.backend, self.mesh, self.layout.block_size, dtype, self.processes
        )
        self.programs = Programs()
        stacked = stack_bins(bins, training_weight, dtype, counts.bins, platform)
        self.stacks = tuple(stack for stack, _ in stacked)
        functions = {"model": model, "loss.custom": custom, "loss.extra_sums": extra_sums}
        further = ordered(name for pretrained in bins for name in pretrained.further)
        added = {f"statistics.{name}": type(one) for name, one in further.items()}
        arrays = {
            **self._digests(catalog, first_row or 0),
            "blocks": f"{size} samples in blocks of {self.layout.block_size}",
            "counts": f"{counts.backend}, sparse: {[stack.sparse for stack in self.stacks]}",
            **_errors(self.config, bins),
        }
        priors = {} if self.prior is None else self.prior.code()
        own = {name: code for name, code in priors.items() if not is_shipped(code)}
        self.identity = {**describe_all({**functions, **added, **own}), **arrays}
        terms = {
            "loss": non_default(
                replace(self.config, kind=self.config.of_steps, custom=None, extra_sums=None)
            ),
            # What the widths of columns are is in the counts.
            "bins": {
                b.bin.group: non_default(replace(b.bin.config, column_width="robust")) for b in bins
            },
            "sums": {"kernel_blocks": self.chain_rule.kernel_blocks, "reproducible": reproducible},
        }
        if self.prior is not None:
            terms["priors"] = self.prior.told()
        self.settings = flatten({name: term for name, term in terms.items() if term})
        self.identity_before = {
            **{name: source_digest_1(function) for name, function in functions.items()},
            **arrays,
        }
        self.shipped = tuple(name for name, f in functions.items() if is_shipped(f))
        arrays_of_stacks = [data for _, data in stacked]
        self.data = self._placed(arrays_of_stacks, training_weight, catalog, first_row or 0)

    def with_catalogs(
        self,
        bins: Sequence[PretrainedBin],
        training_weight: float,
        catalog: Mapping[str, np.ndarray] | None = None,
        catalog_weights: np.ndarray | None = None,
        first_row: int | None = None,
    ) -> "PopulationObjective":
        """The same loss for other catalogs; the compiled programs are shared.

        Args:
            bins: the same bins, counted in another training catalog.
            training_weight, catalog, catalog_weights, first_row: see the class; without
                ``catalog``, the input catalog stays.

        Raises:
            InputError: the bins are others, or a catalog does not have the columns and rows of
                the one that it replaces, or has a value that is masked or not finite.
        """
        platform = platform_of(self.mesh)
        stacked = stack_bins(bins, training_weight, self.dtype, "dense", platform)
        # Whether sums are sparse was chosen for the first catalog.
        found = [
            replace(s, sparse=k.sparse) for (s, _), k in zip(stacked, self.stacks, strict=False)
        ]
        if len(stacked) != len(self.stacks) or found != list(self.stacks):
            raise InputError("bins: another catalog must be counted in the same bins and points")
        other = copy(self)
        other.bins = tuple(bins)
        given = {n: unmasked(values) for n, values in (catalog or {}).items()}
        if catalog_weights is not None:
            given[INPUT_WEIGHTS] = unmasked(catalog_weights)
        if catalog is not None:
            if given.keys() != self.data["catalog"].keys():
                raise InputError(
                    f"input catalog: it has the columns {sorted(given)}, not "
                    f"{sorted(self.data['catalog'])}"
                )
            own = self.layout.rows(self.mesh)[1] - (first_row or 0)
            rows = self.layout.size if first_row is None else own
            if wrong := [name for name, values in given.items() if len(values) != rows]:
                raise InputError(f"input catalog: {', '.join(wrong)} must have {rows} rows")
            self.processes.together(lambda: _check_input(given, self.dtype))
        known = other._digests(given, first_row or 0)
        if catalog is None:
            known["input catalog"] = self.identity["input catalog"]
        other.identity, other.identity_before = (
            {**{name: one for name, one in of.items() if name != WIDTHS}, **known}
            for of in (self.identity, self.identity_before)
        )
        stacks = [data for _, data in stacked]
        other.data = other._placed(stacks, training_weight, given, first_row or 0)
        if catalog is None:
            other.data |= {name: self.data[name] for name in ("catalog", "orders")}
        return other

    def _digests(self, catalog: Mapping[str, np.ndarray], first_row: int) -> dict[str, str]:
        """The part of the identity that follows from the catalogs."""
        known = {
            "training catalog": digest([_counted(b) for b in self.bins]),
            "input catalog": self._catalog_digest(catalog, first_row),
        }
        if narrow := [f"{name} in {b.bin.name}" for b in self.bins for name in b.narrow]:
            known[WIDTHS] = f"robust: {', '.join(narrow)}"
        return known

    def _placed(
        self,
        stacks: Sequence[StackArrays],
        training_weight: float,
        catalog: Mapping[str, np.ndarray],
        first_row: int,
    ) -> dict[str, Any]:
        """The arrays of the loss on the devices."""
        shared = {"stacks": stacks, "training_weight": np.asarray(training_weight, self.dtype)}
        cut = {
            name: self.layout.cut(np.asarray(values, self.dtype), self.mesh, first_row)
            for name, values in catalog.items()
        }
        orders = self.programs.of(
            ("orders", tuple(cut)), lambda: fixed_orders(self.model, self.stacks, cut, self.mesh)
        )
        return {
            "shared": self.chain_rule.place(shared),
            "shares": self.chain_rule.shares(),
            "catalog": cut,
            "orders": orders(cut),
        }

    @property
    def training_weight(self) -> float:
        """Sum of the weights of the training catalog, in the precision of the fit."""
        return float(np.asarray(self.data["shared"]["training_weight"]))

    def _catalog_digest(self, catalog: Mapping[str, np.ndarray], first_row: int) -> str:
        """Digest of all rows of the input catalog; each process digests its own blocks."""
        size = self.layout.block_size
        first, last = self.layout.rows(self.mesh)
        # A process without samples has a copy of the last row, skipped unless it is a whole block.
        mine = slice(first - first_row, first - first_row if first % size else last - first_row)
        own = {name: values[mine] for name, values in catalog.items()}
        found = self.processes.gather((first // size, block_digests(own, size)))
        blocks = {b: row for start, rows in found for b, row in enumerate(rows, start)}
        return combined(np.array([blocks[b] for b in sorted(blocks)], np.uint8).reshape(-1, 32))

    def log_prior(self, params: jax.Array) -> jax.Array:
        """The natural logarithm of the prior at parameters (P,), but for a constant; 0 without.

        It is differentiable, goes through ``jax.jit`` and ``jax.vmap``, and takes parameters within
        their bounds.
        """
        return jnp.zeros((), params.dtype) if self.prior is None else self.prior(params)

    def check(self, params: jax.Array | np.ndarray) -> None:
        """Trace ``loss.custom`` and ``loss.extra_sums``, if there are any.

        Raises:
            InputError: one of the two fails.
        """
        key = jax.random.key(0)
        if self.custom is not None or self.extra_sums is not None:
            try:
                jax.eval_shape(self.value_and_grad, params, key, self.data)
            except Exception as error:
                raise InputError(
                    f"loss.custom or loss.extra_sums: {type(error).__name__}: {error}"
                ) from error

    def value_and_grad(
        self, params: jax.Array, key: jax.Array, data: Any
    ) -> tuple[jax.Array, jax.Array]:
        """Loss and gradient (parameters,) at ``params`` with the random numbers of ``key``."""
        return self.chain_rule.value_and_grad(self._unit_and_loss, params, key, *_arrays(data))

    def settle(self, params: jax.Array | np.ndarray, written_out: bool = True) -> None:
        """Evaluate one block at a time from now on, if many blocks at once have other bits.

        Otherwise, the bits of a fit would depend on the number of devices.

        Args:
            params: (parameters,) parameters to try.
            written_out: see ``numerics.compiled.compiled``.
        """
        rule = self.chain_rule
        if not rule.evaluates_many or rule.most == 1 or self.layout.count == 1:
            return
        given = jnp.asarray(params), jax.random.key(0), *_arrays(self.data)
        alike = self.programs.of(  # the same for other catalogs
            "blocks alike",
            lambda: blocks_alike(rule, self._unit_and_loss, *given, written_out=written_out),
        )
        if not alike:
            log.warning(
                "samples: XLA computes many blocks at once with other bits than one block: one "
                "block at a time is computed, which is slow; fewer and larger blocks (samples."
                "block_size) are faster"
            )
            self.chain_rule = replace(rule, most=1)

    def unit_sums(
        self,
        shared: Any,
        draws: Sequence[DrawnPoints],
        key: jax.Array,
        *,
        squares: bool,
        expected: bool = False,
    ) -> UnitSums:
        """The sums over one block of samples.

        Args:
            shared: the arrays of which every device holds a full copy.
            draws: the points, for each stack.
            key: random key of the population.
            squares: whether to sum the squared contributions of the samples as well.
            expected: whether to sum what ``bins.expected_errors`` need as well.
        """

        def unit(params, block, catalog, kernel_block):
            population = self.model.population(params, key, block, catalog["columns"])
            sums = {
                "weight": jnp.sum(population.weights),
                "stacks": stack_sums(
                    self.stacks,
                    shared["stacks"],
                    draws,
                    kernel_block,
                    population,
                    catalog["orders"],
                    self.backend,
                    squares,
                    expected,
                ),
            }
            if self.extra_sums is not None:
                sums["extra_sums"] = self.extra_sums(population)
            return sums

        return unit

    def _unit_and_loss(self, shared: Any, key: jax.Array) -> tuple[UnitSums, SumsLoss]:
        blocks = self.chain_rule.kernel_blocks
        draws = draw_points(self.stacks, shared["stacks"], draw_key(key), blocks)
        squares = self.config.of_steps == "chisq" and self.config.model_errors
        expected = self.config.expects_errors

        def loss(params, sums):
            # Sums without a kernel axis are the same in every kernel block: take the first.
            def first(tree: Any) -> Any:
                return jax.tree.map(lambda a: a[0], tree)

            by_stack = list(zip(self.stacks, sums["stacks"], strict=True))
            model = [sums_of_stack(stack.drawn, s["sums"]) for stack, s in by_stack]
            noise, of_galaxies = (
                [squares_of_stack(stack.drawn, s[n]) if n in s else None for stack, s in by_stack]
                for n in ("squares", "expected")
            )
            weight = first(sums["weight"])
            truth = [draw.truth for draw in draws]
            total = mean_square(
                self.config,
                self.stacks,
                shared["stacks"],
                draws,
                model,
                noise,
                of_galaxies,
                weight,
                shared["training_weight"],
                None if self.prior is None else -2 * self.prior(params),
            )
            if self.custom is not None:
                total += self.custom(
                    Sums(weight, by_group(self.stacks, model), first(sums.get("extra_sums"))),
                    Sums(shared["training_weight"], by_group(self.stacks, truth)),
                    self.model.tree.unflatten(params),
                )
            return total

        return self.unit_sums(shared, draws, key, squares=squares, expected=expected), loss


def _arrays(data: Mapping[str, Any]) -> tuple[Any, Any, jax.Array]:
    """The arguments ``shared``, ``catalog`` and ``shares`` of ``ChainRule.value_and_grad``."""
    catalog = {"columns": data["catalog"], "orders": data["orders"]}
    return data["shared"], catalog, data["shares"]


def _check_input(catalog: Mapping[str, Any], dtype: Any) -> None:
    """Check that the values of an input catalog are finite in a type, and that integers are exact.

    Raises:
        InputError: a value fails the check.
    """
    for name, given in catalog.items():
        what, values = f"input catalog: column {name!r}", np.asarray(given)
        how = "number them anew, subtract an offset, or take dtype=np.float64, where JAX has it"
        check_integers(values, dtype, what, how)
        with np.errstate(over="ignore"):
            bad = int(np.count_nonzero(~np.isfinite(values.astype(dtype, copy=False))))
        if bad:
            raise InputError(
                f"{what}: {bad} of {len(values)} values are NaN or infinite in {np.dtype(dtype)}: "
                "leave these rows out"
            )


def _check_copies(model: BlockModel, catalog: Mapping[str, np.ndarray], dtype: Any) -> None:
    """Check the order in which the model returns copies of rows, without a guess.

    The parameters are 0. If the model returns columns that depend on neither parameters nor key,
    only these are checked: they are the same at any parameters, and compile fast. A model that
    fails to run at 0 is not checked, because its parameters may have to be positive.

    Raises:
        InputError: the model cannot be traced, or copies of a row are side by side.
    """
    if not catalog:
        return
    params = np.zeros(len(model.names), dtype)
    block = {n: jax.ShapeDtypeStruct((model.layout.block_size,), dtype) for n in catalog}

    def columns(params: Any, key: jax.Array, block: Any) -> dict[str, jax.Array]:
        return dict(model.population(params, key, 0, block).x)

    with model_errors():
        moving = depends_on(columns, (params, jax.random.key(0), block), (0, 1))
    try:
        model.check_copies(params, catalog, [n for n in moving if not moving[n]] or None)
    except InputError:
        raise
    except Exception as error:
        log.debug("the order of copies is not checked, as the model fails at 0: %r", error)


def _traits(
    model: BlockModel,
    catalog: Mapping[str, np.ndarray],
    dtype: Any,
    parameters: Parameters | None,
) -> list[str]:
    """See ``BlockModel.traits``; without a guess, the model is traced at 0."""
    if parameters is None:
        return model.traits(np.zeros(len(model.names), dtype), catalog)
    return model.traits(parameters.guess.astype(dtype), catalog, parameters.fixed_names)
