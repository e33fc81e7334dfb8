"""PyTorch's nn.LSTM, eager or compiled, with fused Adam."""

import jax
import torch  # pyright: ignore[reportMissingImports]

from experiments.benchmarks.problem import LEARNING_RATE, NUM_CLASSES, Problem
from experiments.benchmarks.trainer import UnavailableError
from rowlstm_jax.parallel import cores


class Classifier(torch.nn.Module):
    """[B, T, F] -> logits [B, C]."""

    def __init__(self, features: int, hidden: int):
        super().__init__()
        self.lstm = torch.nn.LSTM(features, hidden, batch_first=True)
        self.readout = torch.nn.Linear(hidden, NUM_CLASSES)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Classify sequences."""
        _, (h, _) = self.lstm(inputs)
        return self.readout(h[-1])


class TorchLoop:
    """The `Trainer` of PyTorch, on the kind of device that JAX uses and with as many threads as there are cores."""

    def __init__(self, problem: Problem, compiled: bool):
        self._device = "cuda" if jax.default_backend() == "gpu" else "cpu"
        if self._device == "cuda" and not torch.cuda.is_available():
            raise UnavailableError("this torch has no GPU support")
        torch.set_num_threads(cores())
        model = Classifier(problem.features, problem.hidden)
        input_kernel, hidden_kernel, bias = problem.gates("ifjo")
        values = [input_kernel.T, hidden_kernel.T, bias, 0 * bias, problem.readout_kernel.T, problem.readout_bias]
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), values, strict=True):
                parameter.copy_(torch.tensor(value))
        model.to(self._device)
        self._optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
        self._model = torch.compile(model) if compiled else model
        self._inputs = torch.tensor(problem.inputs, device=self._device)
        self._labels = torch.tensor(problem.labels, device=self._device, dtype=torch.long)
        self._low_precision = problem.dtype == "bfloat16"

    def _loss(self) -> torch.Tensor:
        with torch.autocast(self._device, dtype=torch.bfloat16, enabled=self._low_precision):
            return torch.nn.functional.cross_entropy(self._model(self._inputs), self._labels)

    def loss(self) -> float:
        """The mean cross-entropy of the batch with the present weights."""
        return self._loss().item()

    def steps(self, count: int) -> None:
        """Take training steps, and wait for a GPU to finish them."""
        for _ in range(count):
            self._optimizer.zero_grad()
            self._loss().backward()
            self._optimizer.step()
        if self._device == "cuda":
            torch.cuda.synchronize()


def build(problem: Problem, compiled: bool = False) -> TorchLoop:
    """PyTorch with the problem's weights: order i, f, g, o, two biases of which the second starts as 0."""
    return TorchLoop(problem, compiled)
