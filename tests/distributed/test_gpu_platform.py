"""``runtime.platform=gpu`` is CUDA or ROCm, by the plugin of JAX that is installed."""

import pytest

from kdescent_dist.distributed.runtime import gpu_platform

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"


@pytest.mark.parametrize(
    ("plugins", "expected"),
    [
        ([], "cuda"),
        (["xla_cuda13"], "cuda"),
        (["xla_rocm7"], "rocm"),
        (["xla_cuda12", "xla_rocm7"], "cuda"),
    ],
)
def test_it_follows_from_the_plugin(plugins, expected, tmp_path, monkeypatch):
    for name in plugins:
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(METADATA.format(name=name))
        entry = f"[jax_plugins]\n{name} = jax_plugins.{name}\n"
        (folder / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert gpu_platform() == expected
