"""The releases of XLA that compute wrong numbers, and the settings that change numbers."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np
import pytest

from rowlstm_jax.config import StartConfig
from rowlstm_jax.errors import UserError
from rowlstm_jax.parallel import settings, start
from rowlstm_jax.parallel.toolchain import KNOWN_BAD, UNUSABLE, require_right_numbers, require_settings

# What jax-ml/jax issues 39103, 39257 and 40412 report, at the sizes that showed it: a wrong sum and two crashes.
REDUCTIONS = """
import jax, jax.numpy as jnp, numpy as np

rows = jnp.stack([jnp.arange(n := 32_769, dtype=jnp.float32)] + 2 * [jnp.zeros(n)], axis=1)
squares = jax.jit(jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2)))(rows)
np.testing.assert_allclose(squares, np.arange(n, dtype=float) ** 2, rtol=1e-6)

weights, table = jnp.ones((10, 4, 6)), jnp.ones((10, 4, 6, 9, 9, 9, 9, 9))
sums = jax.jit(lambda w, t: jnp.log(jnp.maximum(jnp.sum(w[..., None, None, None, None, None] * t, axis=2), 1e-9)))
np.testing.assert_allclose(sums(weights, table), np.log(6), rtol=1e-6)

a, b = np.random.default_rng(0).normal(size=(2, 3, 1, 2, 2, 8, 8, 8)).astype(np.float32)
sums = jax.jit(lambda a, b: jnp.sum(a * b, axis=3))
np.testing.assert_allclose(sums(a, b), (a * b).sum(axis=3), rtol=1e-5, atol=1e-6)
"""


def test_the_reductions_that_some_releases_compute_wrongly_are_right_here():
    done = subprocess.run([sys.executable, "-c", REDUCTIONS], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("version", KNOWN_BAD)
def test_a_release_that_computes_wrong_numbers_is_refused_unless_it_is_allowed(version, monkeypatch):
    monkeypatch.setattr(jaxlib.version, "__version__", version)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    with pytest.raises(UserError, match=rf"^jaxlib {version} computes wrong .*; install another .* set ROWLSTM_ALLOW"):
        start(StartConfig())
    monkeypatch.setenv("ROWLSTM_ALLOW_BAD_JAXLIB", "1")
    with pytest.raises(UserError, match="JAX has started without the flag that mends it; set XLA_FLAGS=--xla_cpu"):
        start(StartConfig())
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    require_right_numbers(has_started=False)
    flags = "--xla_dump_to=x --xla_cpu_experimental_ynn_fusion_type=-reduce"
    assert os.environ["XLA_FLAGS"] == flags
    require_right_numbers(has_started=True)
    assert os.environ["XLA_FLAGS"] == flags, "once"
    assert settings()["XLA_FLAGS"] == "--xla_cpu_experimental_ynn_fusion_type=-reduce"


def test_settings_that_change_numbers_are_json_and_follow_their_changes(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    before = settings()
    assert json.loads(json.dumps(before)) == before
    assert before["XLA_FLAGS"] is None
    assert before["jax_threefry_partitionable"] is True
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true --xla_force_host_platform_device_count=3")
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        assert jnp.ones(1).dtype == np.float64
        now = settings()
    changed = {name: value for name, value in now.items() if value != before[name]}
    expected = {"jax_enable_x64": True, "jax_default_matmul_precision": "highest"}
    assert changed == expected | {"XLA_FLAGS": "--xla_cpu_enable_fast_math=true"}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_setting_with_which_nothing_works_is_refused(name):
    if name not in jax.config.values:
        pytest.skip("this release of JAX has no such setting")
    before, value = jax.config.values[name], "disallow" if "guard" in name else True
    jax.config.update(name, value)
    try:
        with pytest.raises(UserError, match=f"^{name.upper()} is {value}, but .*; unset it.$"):
            require_settings(has_started=True)
    finally:
        jax.config.update(name, before)
