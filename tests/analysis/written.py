"""Run folders as files, made without training, and texts that attack whoever shows them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rowlstm_jax.tasks import protocol_digest

FIELDS = {"dataset": "mnist", "order": "rows", "augmentation": None}
DATA = {"name": "mnist", "version": "3.0.1", "sha256": "0" * 64, "input_shape": [28, 28]}
ATTACKS = [
    "<script>top.document.title='owned'</script>",
    '"><img src=x onerror="top.document.title=\'owned\'">',
    "'><svg onload=top.document.title='owned'>",
    "</style></pre></table><script>top.document.title='owned'</script>",
    "</title><iframe srcdoc=\"<script>top.document.title='owned'</script>\"></iframe>",
    "<a href=\"javascript:top.document.title='owned'\" autofocus onfocus=\"top.document.title='owned'\">x</a>",
    "javascript:top.document.title='owned'",
    "--><!-- ]]> <![CDATA[ &lt;script&gt; &#60;script&#62;",
    "https://example.org/picture.png",
    "\x1b]0;owned\x07\x1b[31m red \x00",
    "\u202eright to left\u2066\u200b",
    "$\\frac{1}{0}$ {0.__class__} %s",
]


def write_run(folder: Path, seeds: int = 2, error: float = 0.1, finished: bool = True, **summary: Any) -> Path:
    """Writes the files of a run; its networks err on this share of the examples. Other keywords go to summary.json."""
    (folder / "plots").mkdir(parents=True)
    config = {"seed": 0, "num_seeds": seeds, "steps": 20, "hidden": 8, "learning_rate": 0.001, "no_test": False}
    identity = {"experiment": "tiny", "seed": 0, "num_seeds": seeds, "protocol": "notebook", "recipe.model": "Net"}
    identity |= {f"protocol.{name}": value for name, value in FIELDS.items()}
    versions, git = {"python": "3.12.1", "jax": "0.10.1"}, {"commit": "c" * 40, "dirty": False}
    write(folder / "config.json", {"config": config, "identity": identity, "versions": versions, "git": git})
    each = (lambda value: [value] * seeds) if seeds > 1 else (lambda value: value)
    lines = [{"step": step, "loss": each(2 / step), "gradient_norm": each(0.5 + step)} for step in (5, 10, 15, 20)]
    lines[-1] |= {"validation_loss": each(0.25), "validation_accuracy": each(0.875)}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if not finished:
        return folder
    for name in ("confusion", "errors"):
        Image.new("L", (660, 660), 200).save(folder / "plots" / f"{name}.png")
    rng = np.random.default_rng(sum(folder.name.encode()))
    labels = rng.integers(0, 10, 200, np.uint8)
    wrong = np.random.default_rng(0).random((seeds, 200)) < error
    predictions = np.where(wrong, (labels + 1) % 10, labels).astype(np.uint8)
    np.savez_compressed(folder / "test.npz", predictions=predictions, labels=labels)
    values = np.mean(predictions == labels, axis=1).tolist()
    of = (lambda values: {"values": values, "mean": 0.0, "std": 0.0, "interval_95": [0.5, 0.75]}) if seeds > 1 else min
    about = {"experiment": "tiny", "seeds": list(range(seeds)), "steps": 20, "num_params": 1234}
    about |= {"test_accuracy": of(values), "test_loss": of([0.5] * seeds), "validation_accuracy": of([0.875] * seeds)}
    about |= {"test_accuracy_interval_95": [0.5, 0.75] if seeds == 1 else [[0.5, 0.75]] * seeds, "data": DATA}
    about |= {"protocol": {"name": "notebook", "sha256": protocol_digest(FIELDS), "fields": FIELDS}}
    about |= {"test_openings": [{"time": "2026-01-02T03:04:05+00:00"}], "git": git, "timing": {"ms_per_step": 1.5}}
    about |= {"environment": {"processor": "P", "devices": ["cpu", "cpu"], "versions": versions, "settings": {"x": 1}}}
    write(folder / "summary.json", about | summary)
    return folder


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def poison(folder: Path, texts: list[str]) -> None:
    """Puts texts in the place of all values and names that a run's JSON may have."""
    for name in ("config.json", "summary.json"):
        content = json.loads((folder / name).read_text())
        for key in ("environment", "git", "timing", "data", "protocol", "config", "versions", "identity"):
            if isinstance(content.get(key), dict):
                content[key] |= {text: text for text in texts}
        for key in ("processor", "backend"):
            content.setdefault("environment", {})[key] = texts[0]
        content["environment"] |= {part: {text: text for text in texts} for part in ("versions", "settings")}
        content |= {f"test_{text}": 0.5 for text in texts}
        content |= {"experiment": " ".join(texts), "selected_step": texts, "train_examples": {texts[0]: texts}}
        content["test_openings"] = [{"time": text} for text in texts]
        content["git"] = {"commit": texts[1], "dirty": texts[2]}
        write(folder / name, content)
    lines = [{"step": step, **{f"train_{text}": 0.5 for text in texts[:4]}} for step in (1, 2, 3)]
    lines = [line | dict.fromkeys(texts, 0.5 + line["step"]) for line in lines]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
