"""Write a trained network as a file for another system, compared with the model first.

    python -m experiments.export runs/mnist_rows/latest --to onnx

`--to` is stablehlo (JAX on CPU, CUDA and TPU), onnx, torch (a state_dict), keras or safetensors. StableHLO and ONNX
files take pictures or sequences as the data set has them; PyTorch's and Keras's networks take sequences [N, T, F].
What StableHLO, ONNX and safetensors need is in the README's environment; PyTorch and Keras are not. A few seconds.
"""

import dataclasses
from pathlib import Path
from typing import Literal

from rowlstm_jax import UserError, cli, naming_flags, open_run
from rowlstm_jax.analysis import verify
from rowlstm_jax.config import StartConfig, require_writable  # flags of a script that trains nothing
from rowlstm_jax.interop import SUFFIXES, export
from rowlstm_jax.runs import console


@dataclasses.dataclass(frozen=True)
class Config(StartConfig):
    """Write a trained network as a file for another system."""

    run: cli.Positional[Path] = dataclasses.field(kw_only=True)
    """The run's folder, or a link to it."""
    to: Literal["stablehlo", "onnx", "torch", "keras", "safetensors"] = dataclasses.field(kw_only=True)
    """The format."""
    output: Path | None = None
    """The file; None takes model and the format's ending, in the run's folder."""
    batch: str = "any"
    """The number of inputs that it takes at once: any, or a number. StableHLO and ONNX only."""
    seed: int | None = None
    """The seed of the network; None takes the run's first."""
    trust_code: bool = False
    """Import a model of your own from where the run says that it was: this runs the code there."""

    def __post_init__(self):
        super().__post_init__()
        if self.batch != "any" and not (self.batch.isdecimal() and 0 < int(self.batch) < 2**31):
            raise UserError(f"--batch is {self.batch}; it must be any, or a number from 1 to {2**31 - 1}.")
        if self.output is not None:
            require_writable("--output", self.output)


def main(config: Config) -> None:
    model = (run := open_run(config.run)).model(trust_code=config.trust_code)
    path = config.output or run.directory / f"model{SUFFIXES[config.to]}"
    seed = model.seeds[0] if config.seed is None else config.seed
    about = {"experiment": run.experiment, "seed": seed, "steps": run.steps, "data": run.data, "protocol": run.protocol}
    about |= {"reading": run.reading, "labels": model.class_names, "weights": verify.digests(model.weights_of(seed))}
    with naming_flags(config, always=True):
        batch = None if config.batch == "any" else int(config.batch)
        written = export(model, config.to, path, seed=seed, batch=batch, about=about)
    apart = f"its logits and the model's are at most {written.difference:.1e} apart on {written.inputs} random inputs"
    console.say(f"{written.path}: the network of seed {seed}; {apart}.")


if __name__ == "__main__":
    cli.run(main, Config)
