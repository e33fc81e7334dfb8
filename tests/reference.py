"""An independent NumPy implementation of TensorFlow 1's BasicLSTMCell, for the tests of what computes the same."""

import numpy as np


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm(kernel, bias, inputs, forget_bias, carry=None):
    """A Python loop over time: inputs [B, T, F] -> outputs [B, T, H] and the final carry (c, h)."""
    hidden = len(bias) // 4
    c, h = carry or (np.zeros((len(inputs), hidden)), np.zeros((len(inputs), hidden)))
    outputs = []
    for t in range(inputs.shape[1]):
        gates = np.hstack([inputs[:, t], h]) @ kernel + bias
        i, j, f, o = (gates[:, k * hidden : (k + 1) * hidden] for k in range(4))
        c = c * sigmoid(f + forget_bias) + sigmoid(i) * np.tanh(j)
        h = np.tanh(c) * sigmoid(o)
        outputs.append(h)
    return np.stack(outputs, axis=1), (c, h)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean softmax cross-entropy in nats."""
    log_normaliser = np.log(np.exp(logits).sum(axis=-1))
    return float(np.mean(log_normaliser - logits[np.arange(len(labels)), labels]))
