"""`from_tfds`: any image classification set that TensorFlow Datasets (TFDS) has prepared, read without TensorFlow."""

import os
import re
import subprocess
import sys
from pathlib import Path

import filelock

from rowlstm_jax.data.arrays import read_only
from rowlstm_jax.data.dataset import Dataset, Examples
from rowlstm_jax.data.load import data_folder
from rowlstm_jax.data.own import digest, duplicates
from rowlstm_jax.data.sources import Log

NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[\w.+-]+))?(:(?P<version>\d+\.\d+\.\d+))?", re.ASCII)
VERSION = re.compile(r"\d+\.\d+\.\d+", re.ASCII)
PREPARE = "import sys; from rowlstm_jax.data import builder; builder.prepare(*sys.argv[1:])"


def from_tfds(name: str, data_dir: Path | None = None, log: Log = print) -> Dataset:
    """A data set that TFDS has prepared in array_record form; if it has not, TFDS is asked to.

    The same input may be in training and test, as it is in some published sets; the log says how many are.

    Args:
      name: "NAME", "NAME:VERSION", "NAME/CONFIG" or "NAME/CONFIG:VERSION", as TFDS has it.
      data_dir: folder of the prepared data sets; if None, $TFDS_DATA_DIR or ~/tensorflow_datasets.
      log: is called with a line before each slow action.

    Returns:
      Pictures, uint8 [N, R, K] or [N, R, K, channels], and their classes, in file order if TFDS numbered the examples.
      Its name is "NAME" or "NAME-CONFIG".

    Raises:
      ValueError: the set is unknown, can't be prepared or read, or is no image classification set of one size with
        training and test examples.
    """
    where, match = f"tfds:{name}", NAME.fullmatch(name)
    if not match:
        raise ValueError(f"{where} is no name of TensorFlow Datasets; write NAME, NAME:VERSION or NAME/CONFIG:VERSION.")
    data_dir = data_folder(data_dir)
    title = "/".join(part for part in match.group("name", "config") if part)
    folder = _newest(data_dir / title, match["version"])
    if folder is None:
        if not match["config"] and (configs := _configs(data_dir / title)):
            choices = ", ".join(f"tfds:{title}/{config}" for config in configs)
            raise ValueError(f"{where} has several configs, of which {data_dir} holds {choices}; name one of them.")
        folder = _prepare(name, title, match["version"], data_dir, log)
    log(f"data: decoding {where} from {folder} (about 15 s for 60,000 pictures, each time)")
    from rowlstm_jax.data import builder

    names, arrays = builder.read_any(folder, where)
    train, test = (Examples(*map(read_only, arrays[i : i + 2])) for i in (0, 2))
    for part, examples in (("train", train), ("test", test)):
        if not len(examples) or examples.targets.max() >= len(names):
            raise ValueError(f"{where} has no examples or unknown classes in {part}; choose another data set.")
    if found := duplicates(train, test):
        log(f"data: {len(found):,} of {len(test):,} test pictures of {where} are also training pictures")
    source = f"the data set prepared in {folder}"
    return Dataset(title.replace("/", "-"), folder.name, names, train, test, digest(train, test, names), source)


def _newest(home: Path, version: str | None) -> Path | None:
    """The folder of the version that is prepared in `home`, of the newest if None; None if there is none."""
    found = [path.parent for path in home.glob("*/dataset_info.json") if VERSION.fullmatch(path.parent.name)]
    found = [path for path in found if version in (None, path.name)]
    return max(found, key=lambda path: [int(number) for number in path.name.split(".")], default=None)


def _configs(home: Path) -> list[str]:
    return sorted(path.name for path in home.glob("*") if path.is_dir() and _newest(path, None))


def _prepare(name: str, title: str, version: str | None, data_dir: Path, log: Log) -> Path:
    """Let TFDS prepare the data set, in another process since that may import TensorFlow. Returns its folder.

    Raises:
      ValueError: it can't; the message says how to prepare it elsewhere.
    """
    log(f"data: tfds:{name} is not prepared in {data_dir}; asking TensorFlow Datasets to download and prepare it")
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(data_dir / ".prepare.lock"):
            command = [sys.executable, "-c", PREPARE, name, str(data_dir)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        problem = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
    except OSError as error:
        problem = str(error)
    # Without a config TFDS takes the first one.
    homes = [data_dir / title, *(data_dir / title / config for config in _configs(data_dir / title))]
    if folder := next((found for home in homes if (found := _newest(home, version))), None):
        return folder
    raise ValueError(
        f"tfds:{name} is not prepared in {data_dir} and can't be here ({problem}); where TensorFlow is installed, run "
        f"tfds.builder({name!r}, data_dir=DIR, file_format='array_record').download_and_prepare(), and copy "
        f"DIR/{title} to {data_dir / title}."
    )
