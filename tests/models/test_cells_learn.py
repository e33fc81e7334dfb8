"""Each cell of the registry learns the rows of MNIST in a short run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.models.cells import CELLS
from rowlstm_jax.models.classifier import SequenceClassifier

STEPS, B, HELD_OUT, HIDDEN = 150, 100, 2000, 64

# Adam's step size, and an accuracy on the last 2,000 training images, which no step reads: well below the least of the
# seeds 0, 1 and 2.
EXPECTED = {
    "lstm": (1e-2, 0.78),
    "peephole_lstm": (1e-2, 0.78),
    "layer_norm_lstm": (1e-2, 0.75),
    "gru": (1e-2, 0.78),
    "elman": (3e-3, 0.60),
    "jordan": (1e-2, 0.33),
    "echo_state": (1e-2, 0.38),
    "cornn": (1e-2, 0.45),
    "lem": (1e-2, 0.70),
    "fully_recurrent": (3e-3, 0.60),
}


def accuracy_after_training(name: str, mnist, seed: int = 0) -> float:
    learning_rate, _ = EXPECTED[name]
    model, optimizer = SequenceClassifier(CELLS[name](HIDDEN), num_classes=10), optax.adam(learning_rate)

    @jax.jit
    def start():
        params = model.init(jax.random.key(seed), jnp.zeros((1, 28, 28)))["params"]
        return params, optimizer.init(params)

    @jax.jit
    def step(params, state, images, labels):
        def loss(params):
            logits = model.apply({"params": params}, images / jnp.float32(255))
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels.astype(jnp.int32)).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    params, state = start()
    for n in range(STEPS):
        chosen = slice(n * B, (n + 1) * B)
        params, state = step(params, state, mnist.train.inputs[chosen], mnist.train.targets[chosen])
    held_out = mnist.train[-HELD_OUT:]
    logits = jax.jit(model.apply)({"params": params}, held_out.inputs / np.float32(255))
    return float(np.mean(np.argmax(logits, axis=-1) == held_out.targets))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.slow
def test_it_learns_the_rows_of_mnist(name, mnist):
    assert accuracy_after_training(name, mnist) >= EXPECTED[name][1]
