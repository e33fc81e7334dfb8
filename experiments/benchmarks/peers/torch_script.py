"""What `experiments.mnist_rows` trains, as a bare PyTorch script, which takes the number of steps.

python -m experiments.benchmarks.peers.torch_script 999
"""

import importlib.util
import sys

import numpy as np

from rowlstm_jax.data import Examples, load

VALIDATION = 5_000
BATCH_SIZE, EVAL_BATCH_SIZE = 100, 1_000


def is_available() -> bool:
    """Whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def main(steps: int) -> None:
    """Train on the rows of MNIST, and print the loss every ten steps and the accuracies at the end."""
    import torch  # pyright: ignore[reportMissingImports]

    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(28, 128, batch_first=True)
            self.readout = torch.nn.Linear(128, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.readout(self.lstm(images.float() / 255)[1][0][-1])

    def tensors(examples: Examples) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor(examples.inputs), torch.tensor(examples.targets, dtype=torch.long)

    def accuracy(images: torch.Tensor, labels: torch.Tensor) -> float:
        with torch.no_grad():
            parts = [model(part).argmax(1) for part in images.split(EVAL_BATCH_SIZE)]
        return (torch.cat(parts) == labels).float().mean().item()

    torch.manual_seed(0)
    dataset, rng = load("mnist"), np.random.default_rng(0)
    images, labels = tensors(dataset.train)
    test = tensors(dataset.test)
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    order = np.concatenate([rng.permutation(len(labels) - VALIDATION) for _ in range(1 + steps * BATCH_SIZE // 55_000)])
    for step in range(steps):
        batch = VALIDATION + torch.from_numpy(order[step * BATCH_SIZE : (step + 1) * BATCH_SIZE])
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print(f"step {step + 1}/{steps}: loss {loss.item():.4f}, {accuracy(images[batch], labels[batch]):.2%}")
    print(f"validation {accuracy(images[:VALIDATION], labels[:VALIDATION]):.2%}, test {accuracy(*test):.2%}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
