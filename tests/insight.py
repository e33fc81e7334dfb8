"""What `insight` draws of which models, for the tests of the function and of the script."""

import flax.linen as nn

OVER_TIME = {"probabilities_over_rows", "rows_needed"}
GATES = {f"gates_over_time_layer_{layer}_{direction}" for layer in range(2) for direction in ("forward", "backward")}


class Flat(nn.Module):
    """A classifier that is no `SequenceClassifier`."""

    classes: int = 3

    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        return nn.Dense(self.classes)(inputs.reshape(len(inputs), -1))
