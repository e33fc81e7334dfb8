"""The classifier in PyTorch and in Keras, each with the problem's weights; both order the gates i, f, g, o."""

import itertools
import os
from typing import Any

import jax

from experiments.benchmarks.problem import LEARNING_RATE, NUM_CLASSES, Problem, System, UnavailableError
from rowlstm_jax.parallel import cores


def torch_lstm(problem: Problem, compiled: bool = False) -> System:
    """PyTorch's nn.LSTM and fused Adam, on the kind of device that JAX uses, with a thread for each core."""
    import torch  # pyright: ignore[reportMissingImports]

    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(problem.features, problem.hidden, batch_first=True)
            self.readout = torch.nn.Linear(problem.hidden, NUM_CLASSES)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.readout(self.lstm(inputs)[1][0][-1])

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UnavailableError("this torch has no GPU support")
    torch.set_num_threads(cores())
    model = Classifier()
    input_kernel, hidden_kernel, bias = problem.gates("ifjo")  # of two biases the second starts as 0
    values = [input_kernel.T, hidden_kernel.T, bias, 0 * bias, problem.readout_kernel.T, problem.readout_bias]
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value))
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    classify: Any = torch.compile(model) if compiled else model
    inputs = torch.tensor(problem.inputs, device=device)
    labels = torch.tensor(problem.labels, device=device, dtype=torch.long)

    def loss() -> torch.Tensor:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=problem.dtype == "bfloat16"):
            return torch.nn.functional.cross_entropy(classify(inputs), labels)

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return System(steps, lambda: loss().item())


def keras_layer(problem: Problem) -> System:
    """Keras 3's LSTM layer on its JAX backend, trained by `fit` in one epoch from a generator."""
    os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is imported
    import keras  # pyright: ignore[reportMissingImports]

    policy = "mixed_bfloat16" if problem.dtype == "bfloat16" else "float32"
    model: Any = keras.Sequential(
        [
            keras.layers.Input(problem.images.shape[1:]),
            keras.layers.LSTM(problem.hidden, dtype=policy),
            keras.layers.Dense(NUM_CLASSES, dtype=policy),
        ]
    )
    model.set_weights([*problem.gates("ifjo"), problem.readout_kernel, problem.readout_bias])
    model.compile(keras.optimizers.Adam(LEARNING_RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    batch = problem.inputs, problem.labels

    def steps(count: int) -> None:
        model.fit((batch for _ in itertools.count()), steps_per_epoch=count, shuffle=False, verbose=0)

    return System(steps, lambda: float(model.evaluate(*batch, batch_size=len(batch[0]), verbose=0)))
