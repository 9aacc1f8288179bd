"""A run, from its config to its report: the wiring of everything before it."""

import functools
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdescent_dist import runtime
from kdescent_dist.bins import PretrainedBin, expand_bins, pretrain_bin, required_columns
from kdescent_dist.block_layout import BlockLayout
from kdescent_dist.bounds import Bounds
from kdescent_dist.callbacks import Metrics, ProgressBar
from kdescent_dist.catalog import Catalog, load_catalog
from kdescent_dist.checkpoint import latest_step
from kdescent_dist.config import Config
from kdescent_dist.diagnostics import diagnose
from kdescent_dist.errors import InputError, NonFiniteLossError, Preempted
from kdescent_dist.fit import FitResult, fit
from kdescent_dist.mesh import make_mesh
from kdescent_dist.objective import PopulationObjective
from kdescent_dist.optimizer import make_optimizer
from kdescent_dist.population import BlockModel
from kdescent_dist.report import make_report
from kdescent_dist.run_directory import RunDirectory, catalog_digest
from kdescent_dist.runtime import StopSignals
from kdescent_dist.targets import import_target

log = logging.getLogger(__name__)


def run(config: Config) -> dict[str, Any]:
    """Carry out a run, or continue it, in its run directory.

    Returns:
        What ``result.json`` says.

    Raises:
        InputError: the config or the input is bad.
        Preempted: a signal asked the run to stop; its state is saved.
        NonFiniteLossError: the loss is not finite; the last good state is saved.
    """
    directory = RunDirectory.of(config)
    if config.mode == "report":
        return _report_only(config, directory)
    with StopSignals().installed() as signals, _logging(directory):
        try:
            runtime.start(config.runtime, _cache(config, directory))
            return _Run(config, directory, signals).carry_out()
        except Exception as error:
            expected = isinstance(error, InputError | Preempted | NonFiniteLossError)
            log.error("%s", error, exc_info=not expected)
            raise


def _report_only(config: Config, directory: RunDirectory) -> dict[str, Any]:
    if not directory.result():
        raise InputError(f"run_dir={directory.path}: no result.json: there is nothing to report")
    print(f"report: {make_report(directory.path)}")
    return directory.result()


class _Run:
    def __init__(self, config: Config, directory: RunDirectory, signals: StopSignals) -> None:
        self.config = config
        self.directory = directory
        self.signals = signals
        self.begun = time.perf_counter()
        self.earlier: dict[str, Any] = {}
        self.names = tuple(config.parameters)
        values = list(config.parameters.values())
        self.dtype = np.float64 if config.runtime.x64 else np.float32
        self.guess = np.asarray([p.guess for p in values], self.dtype)
        self.bounds = Bounds.from_pairs([(p.low, p.high) for p in values], len(values))

    def carry_out(self) -> dict[str, Any]:
        config = self.config
        # All that can be checked without the catalog is checked before it is read.
        self.bounds.check(self.guess, [f"parameters.{name}" for name in self.names])
        mesh = make_mesh(config.mesh.samples, config.mesh.kernels)
        optimizer = make_optimizer(config.optimizer, config.fit.steps)
        model = self._function(asdict(config.model), "model")
        custom = self._function(config.loss.custom, "loss.custom")
        statistics = self._function(config.loss.statistics, "loss.statistics")
        self.directory.open(config)
        log.info("run directory: %s", self.directory.path)
        training, given = self._catalogs()
        size = config.samples.size or len(training if given is None else next(iter(given.values())))
        layout = BlockLayout.of(size, config.samples.block_size)
        BlockModel(model, self.names, tuple(config.model.columns), layout).check(
            self.guess, given or {}, required_columns(config.bins)
        )
        pretrained = self._pretrain(expand_bins(config.bins), training, mesh)
        objective = PopulationObjective(
            model,
            self.names,
            pretrained,
            training_weight=float(training.weights.sum()),
            size=config.samples.size,
            catalog=given,
            columns=config.model.columns,
            loss=config.loss,
            custom=custom,
            statistics=statistics,
            mesh=mesh,
            block_size=config.samples.block_size,
            kernel_blocks=config.mesh.kernel_blocks,
            reproducible=config.mesh.reduction == "reproducible",
            dtype=self.dtype,
        )
        objective.check(self.guess)
        self._stop_if_asked()
        self.directory.claim(config)
        self.earlier = self.directory.result()
        self._write_result("running")
        try:
            result = self._fit(objective, optimizer)
            return self._finish(result, objective, pretrained, training)
        except Preempted:
            self._write_result("preempted")
            raise
        except Exception as error:
            self._write_result("failed", message=f"{type(error).__name__}: {error}")
            raise

    def _function(self, spec: dict[str, Any] | None, key: str) -> Any:
        """The function that a ``_target_`` names, with its options bound."""
        if spec is None:
            return None
        target = import_target(spec["_target_"], f"{key}._target_")
        options = spec.get("options", {k: v for k, v in spec.items() if k[0] != "_"})
        return functools.partial(target, **options) if options else target

    def _catalogs(self) -> tuple[Catalog, dict[str, np.ndarray] | None]:
        """The training catalog, and the columns of the input catalog of the model."""
        config = self.config
        needed, inputs = required_columns(config.bins), config.input
        if inputs.catalog is None:
            needed = list(dict.fromkeys([*needed, *inputs.columns]))
        training = load_catalog(config.catalog, required=needed, seed=config.seed)
        log.info("catalog: %d rows of %s", len(training), training.source)
        for reason, rows in training.dropped.items():
            log.info("catalog: %d rows left out: %s", rows, reason)
        self.catalog = {
            "source": training.source,
            "rows": len(training),
            "dropped": dict(training.dropped),
        }
        if not inputs.columns:
            return training, None
        source = training
        if inputs.catalog is not None:
            source = load_catalog(
                inputs.catalog, required=inputs.columns, seed=config.seed, key="input.catalog"
            )
        rows = np.arange(len(source))
        if config.samples.size is not None and config.samples.size != len(source):
            if config.samples.size > len(source):
                raise InputError(
                    f"samples.size={config.samples.size}: the input catalog has only "
                    f"{len(source)} rows; leave it out to use them all"
                )
            rng = np.random.default_rng(config.seed)
            rows = np.sort(rng.choice(rows, config.samples.size, replace=False))
        return training, {name: source.columns[name][rows] for name in inputs.columns}

    def _pretrain(
        self, bins: Sequence, training: Catalog, mesh: jax.sharding.Mesh
    ) -> list[PretrainedBin]:
        columns = {name: values.astype(self.dtype) for name, values in training.columns.items()}
        weights = training.weights.astype(self.dtype)
        source = catalog_digest(columns, weights, self.config.seed)
        pretrained = []
        for bin_ in bins:
            self._stop_if_asked()
            known = self.directory.load_counts(bin_, source)
            one = pretrain_bin(bin_, columns, weights, self.config.seed, mesh, known)
            if known is None:
                self.directory.save_counts(bin_, source, one.counts)
            pretrained.append(one)
        log.info("pretrained %d bins", len(pretrained))
        return pretrained

    def _stop_if_asked(self) -> None:
        if self.signals.requested():
            raise Preempted(f"stopped by {self.signals.received} before the first step")

    def _fit(self, objective: PopulationObjective, optimizer: Any) -> FitResult:
        config = self.config
        step = latest_step(self.directory.checkpoints) or 0
        if step:
            log.info("continuing from the checkpoint of step %d", step)
        bar = ProgressBar(config.fit.steps, step, config.runtime.progress)
        try:
            return fit(
                objective,
                self.guess,
                optimizer,
                bounds=self.bounds,
                names=self.names,
                config=config.fit,
                seed=config.seed,
                checkpoints=self.directory.checkpoints,
                checkpoint=config.checkpoint,
                callbacks=[bar, Metrics(self.directory.metrics)],
                stop_requested=self.signals.requested,
                samples=objective.layout.size,
            )
        finally:
            bar.close()

    def _finish(
        self,
        result: FitResult,
        objective: PopulationObjective,
        pretrained: list[PretrainedBin],
        training: Catalog,
    ) -> dict[str, Any]:
        config = self.config
        columns = {name: values.astype(self.dtype) for name, values in training.columns.items()}
        arrays = diagnose(
            objective,
            pretrained,
            columns,
            training.weights.astype(self.dtype),
            self.guess,
            result.params[-1],
            seed=config.seed,
            samples=config.report.samples,
        )
        self.directory.write_arrays("diagnostics", arrays)
        history = {
            "step": np.arange(len(result.losses)),
            "loss": result.losses,
            "grad_norm": result.grad_norms,
            "params": result.params,
            "names": np.array(result.names),
        }
        self.directory.write_arrays("history", history)
        last = result.params[-max(len(result.params) // 10, 2) :]
        written = self._write_result(
            "done",
            message=result.message,
            step=int(result.state.step),
            params=result.final,
            scatter=dict(zip(self.names, last.std(axis=0).tolist(), strict=True)),
            loss=float(result.losses[-1]),
            devices=runtime.describe_devices(objective.mesh),
            samples=objective.layout.size,
        )
        if config.report.enabled:
            log.info("report: %s", make_report(self.directory.path))
        log.info("status: done, step %d, loss %.5g", written["step"], written["loss"])
        return written

    def _write_result(self, status: str, **known: Any) -> dict[str, Any]:
        result = {
            **self.earlier,
            "status": status,
            "step": latest_step(self.directory.checkpoints) or 0,
            "steps": self.config.fit.steps,
            "seed": self.config.seed,
            "name": self.config.name,
            "catalog": self.catalog,
            "versions": runtime.versions(),
            "wall_s": round(self.earlier.get("wall_s", 0) + time.perf_counter() - self.begun, 3),
            **known,
        }
        self.directory.write_result(result)
        return result


def _cache(config: Config, directory: RunDirectory) -> Path | None:
    return directory.path.absolute() / "cache" if config.runtime.compilation_cache else None


@contextmanager
def _logging(directory: RunDirectory) -> Iterator[None]:
    """Log to the terminal, and to log.txt of the run directory once that exists.

    Errors go to the file alone: whoever called tells the user of them.
    """
    root = logging.getLogger("kdescent_dist")
    before = root.level, root.propagate
    root.setLevel(logging.INFO)
    root.propagate = False  # libraries install handlers of their own, which would print twice
    terminal = logging.StreamHandler()
    terminal.setFormatter(logging.Formatter("%(message)s"))
    terminal.addFilter(lambda record: record.levelno < logging.ERROR)
    file = _LogFile(directory.path / "log.txt")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handlers = [terminal, file]
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield
    finally:
        root.level, root.propagate = before
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


class _LogFile(logging.FileHandler):
    """A log file that keeps its lines until its folder has been made."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, delay=True)
        self._path = path
        self._waiting: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not self._path.parent.exists():
            self._waiting.append(record)
            return
        for waiting in self._waiting:
            super().emit(waiting)
        self._waiting.clear()
        super().emit(record)
