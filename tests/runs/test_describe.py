import functools

import flax.linen as nn
import jax.numpy as jnp
import optax

from rowlstm_jax.config import differences
from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.models.classifier import SequenceClassifier
from rowlstm_jax.runs.describe import describe


def model(**fields):
    return SequenceClassifier(BasicLSTMCell(8), num_classes=3, **fields)


def test_every_attribute_has_its_name_and_no_address():
    description = describe(model(dtype=jnp.bfloat16), "model")
    assert description["model.cell"] == "BasicLSTMCell"
    assert description["model.cell.features"] == "8"
    assert description["model.dtype"] == "bfloat16"
    assert not any(" at 0x" in text for text in description.values())
    assert description == describe(model(dtype=jnp.bfloat16), "model")


def test_what_functions_hold_in_their_closures_is_told_apart():
    first, second = (describe(model(kernel_init=nn.initializers.normal(std)), "model") for std in (1.0, 0.1))
    assert differences(first, second) == ["model.kernel_init.stddev was 1.0 and is now 0.1"]
    first, second = (describe(functools.partial(max, default=value), "f") for value in (1, 2))
    assert differences(first, second) == ["f.default was 1 and is now 2"]


def test_optax_chains_are_told_apart_by_their_settings():
    def chain(b1, decay_steps):
        schedule = optax.cosine_decay_schedule(0.1, decay_steps)
        return describe(optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b1=b1)), "optimizer")

    assert chain(0.9, 100) == chain(0.9, 100)
    (difference,) = differences(chain(0.9, 100), chain(0.8, 100))
    assert difference.endswith(".b1 was 0.9 and is now 0.8")
    (difference,) = differences(chain(0.9, 100), chain(0.9, 200))
    assert difference.endswith(".decay_steps was 100 and is now 200")


def test_a_function_that_holds_itself_is_described_once():
    def outer():
        def recursive():
            return recursive

        return recursive

    assert list(describe(outer(), "f")) == ["f"]
