"""The networks of PyTorch and Keras compute what the model computes, where these are installed."""

import importlib

import jax
import numpy as np
import pytest

from rowlstm_jax.errors import UserError
from rowlstm_jax.interop import networks
from tests.interop.networks import INPUTS, SHAPES, logits, network


@pytest.fixture(autouse=True)
def keras_promotes_ranks():
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("kind", ["lstm", "gru", "elman"])
@pytest.mark.parametrize(("num_layers", "bidirectional", "readout"), SHAPES)
def test_torch_and_keras_compute_the_same(kind, num_layers, bidirectional, readout):
    model, params = network(kind, num_layers, bidirectional, readout=readout)
    torch = pytest.importorskip("torch")
    found = networks.torch_network(model, params)(torch.from_numpy(INPUTS)).detach().numpy()
    np.testing.assert_allclose(found, logits(model, params), rtol=1e-5, atol=1e-5)
    pytest.importorskip("keras")
    found = np.asarray(networks.keras_network(model, params, INPUTS.shape[1:])(INPUTS))
    np.testing.assert_allclose(found, logits(model, params), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["torch", "keras"])
def test_a_missing_package_is_named(monkeypatch, name):
    real = importlib.import_module

    def without(module: str):
        if module == name:
            raise ImportError(module)
        return real(module)

    monkeypatch.setattr(networks.importlib, "import_module", without)
    with pytest.raises(UserError, match=rf"This needs the package {name}; install it with: pip install {name}\."):
        {"torch": networks.torch_network, "keras": lambda *a: networks.keras_network(*a, (6, 4))}[name](*network())
