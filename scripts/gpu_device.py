"""What the GPU check tells of the device itself, without the package."""

import hashlib
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from gpu_sections import Row

ROOT = Path(__file__).resolve().parents[1]
QUERY = "name,driver_version,clocks.max.sm,clocks.sm,power.limit"


def facts(smoke: bool) -> Iterator[Row]:
    """Device, versions and commit, and what the driver says of the GPU."""
    device = jax.devices()[0]
    yield {
        "device": device.device_kind,
        "backend": device.platform,
        "devices": jax.device_count(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "commit": commit(),
        "source": source(),
        "smoke": smoke,
    }
    if shutil.which("nvidia-smi") is None:
        yield {"driver": None, "note": "there is no nvidia-smi"}
    else:
        yield {"driver": output_of("nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader")}


def output_of(*command: str) -> str | None:
    """What a command prints, or None where the command is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def commit() -> str | None:
    """The commit of the checkout, with ``-dirty`` if files were changed since the commit."""
    if not (ROOT / ".git").exists():  # a folder above may hold another repository
        return None
    describe = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return output_of("git", "-C", str(ROOT), *describe)


def source() -> str:
    """A digest of the package, which tells commits apart in a copy without the repository."""
    files = sorted((ROOT / "kdescent_dist").rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def precision() -> Iterator[Row]:
    """The error of a product of matrices: about 3e-4 if rounded to TF32, 1e-7 if not."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 65_536, 2)).astype(np.float32)
    exact = a.astype(float).T @ b
    scale = np.max(np.abs(a.astype(float).T) @ np.abs(b))
    for name in ("default", "highest"):
        product = jax.jit(lambda a, b, name=name: jnp.matmul(a.T, b, precision=name))
        error = np.max(np.abs(np.asarray(product(a, b), float) - exact)) / scale
        yield {"precision": name, "relative_error": float(error)}
