"""ONNX graphs, on real pictures; more stands in test_formats.py."""

import numpy as np
import pytest

from rowlstm_jax.interop.onnx import onnx_bytes, run_onnx
from tests.analysis.test_trained import make


@pytest.mark.slow
def test_a_thousand_test_pictures_get_the_same_logits(mnist):
    pytest.importorskip("onnxruntime")
    trained = make(shape=(28, 28))
    pictures = mnist.test.inputs[:1000]
    found = run_onnx(onnx_bytes(trained, None, None, {}), pictures)
    np.testing.assert_allclose(found, trained.logits(pictures), rtol=1e-4, atol=1e-5)


def test_the_graph_is_checked_and_its_batch_named():
    onnx = pytest.importorskip("onnx")
    graph = onnx.load_from_string(onnx_bytes(make(), None, None, {})).graph
    (size, *rest) = graph.input[0].type.tensor_type.shape.dim
    assert (size.dim_param, [dim.dim_value for dim in rest]) == ("batch", [4, 6])
    (size, _) = onnx.load_from_string(onnx_bytes(make(), None, 5, {})).graph.output[0].type.tensor_type.shape.dim
    assert size.dim_value == 5
