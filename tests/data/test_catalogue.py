"""The catalogue against TensorFlow Datasets."""

import re
from pathlib import Path
from typing import Any

import pytest

from rowlstm_jax.data import DATASETS, DatasetSpec, builder


def test_the_catalogue_is_that_of_tfds() -> None:
    assert set(DATASETS) == set(builder.ORIGINALS) == set(builder.WRITERS)
    for name, spec in DATASETS.items():
        original: Any = builder.ORIGINALS[name]
        assert spec.version == str(original.VERSION)
        assert name == "cifar10" or spec.url == original.URL
        infos = original.url_infos or {}
        assert {spec.url + file.name: (file.size, file.sha256) for file in spec.files} == {
            url: (info.size, info.checksum) for url, info in infos.items()
        }


@pytest.mark.parametrize("name", DATASETS)
def test_class_names_are_those_of_tfds(name: str, tmp_path: Path) -> None:
    features: Any = builder.ORIGINALS[name](data_dir=tmp_path).info.features
    if name == "cifar10":  # TFDS reads its names from the archive: test_originals.py
        assert features["label"].num_classes == len(DATASETS[name].class_names)
    else:
        assert features["label"].names == list(DATASETS[name].class_names)


@pytest.mark.parametrize("spec", DATASETS.values(), ids=DATASETS)
def test_shapes_and_digests_are_complete(spec: DatasetSpec) -> None:
    if spec.name == "cifar10":
        assert spec.shapes == ((50_000, 32, 32, 3), (50_000,), (10_000, 32, 32, 3), (10_000,))
    else:
        assert spec.shapes == ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))
    count = {"idx": 4, "cifar": 1}[spec.form]
    assert len({file.name for file in spec.files}) == len({file.sha256 for file in spec.files}) == count
    digests = [file.sha256 for file in spec.files] + [file.idx_sha256 for file in spec.files] + [spec.sha256]
    digests += [spec.wheel.sha256, spec.wheel.member_sha256] if spec.wheel else []
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests if digest)


def test_data_sets_without_a_known_digest_of_their_pixels_are_kmnist_and_cifar10() -> None:
    """Their pixels are checked against the digest that was stored with them."""
    assert [name for name, spec in DATASETS.items() if spec.sha256 is None] == ["kmnist", "cifar10"]
