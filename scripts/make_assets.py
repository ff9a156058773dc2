"""Makes the data that ships with polyvae: a class-balanced MNIST subset and small background pictures.

    python scripts/make_assets.py --mnist DIR --out src/polyvae/datasets/assets

DIR holds the four standard MNIST files (gz). The pictures come from the installed scikit-image and scikit-learn.
"""

import argparse
import gzip
import hashlib
import lzma
from pathlib import Path

import numpy as np
import skimage
import sklearn
from PIL import Image

PER_CLASS = {"train": 1200, "t10k": 200}
SEED = 0
SHORT_SIDE = 180
# In the order of polyvae.datasets.polymnist.backgrounds.VENDORED; the box leaves out the black frame of the retina.
PICTURES = {
    "hubble": ("skimage", "hubble_deep_field.jpg", None),
    "flower": ("sklearn", "flower.jpg", None),
    "rocket": ("skimage", "rocket.jpg", None),
    "coffee": ("skimage", "coffee.png", None),
    "retina": ("skimage", "retina.jpg", (210, 210, 1200, 1200)),
    "astronaut": ("skimage", "astronaut.png", None),
    "china": ("sklearn", "china.jpg", None),
    "camera": ("skimage", "camera.png", None),
    "cell": ("skimage", "cell.png", None),
    "chelsea": ("skimage", "chelsea.png", None),
}
FOLDERS = {
    "skimage": Path(skimage.__file__).parent / "data",
    "sklearn": Path(sklearn.__file__).parent / "datasets/images",
}


def write_subset(mnist: Path, out: Path, split: str, per_class: int) -> None:
    labels = gzip.decompress((mnist / f"{split}-labels-idx1-ubyte.gz").read_bytes())
    images = gzip.decompress((mnist / f"{split}-images-idx3-ubyte.gz").read_bytes())
    digit = np.frombuffer(labels, np.uint8, offset=8)
    # MNIST's first test digits are harder than the others, so these are drawn; its first training digits are not.
    rank = np.arange(len(digit)) if split == "train" else np.random.Generator(np.random.PCG64(SEED)).random(len(digit))
    order = np.lexsort((rank, digit))
    first = np.searchsorted(digit[order], np.arange(10))
    kept = np.sort(order[first[:, None] + np.arange(per_class)], axis=None)
    count = len(kept).to_bytes(4, "big")
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 784)[kept]
    write_xz(out / f"{split}-labels-idx1-ubyte.xz", labels[:4] + count + digit[kept].tobytes())
    write_xz(out / f"{split}-images-idx3-ubyte.xz", images[:4] + count + images[8:16] + pixels.tobytes())


def write_xz(path: Path, content: bytes) -> None:
    path.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


def write_picture(source: Path, box: tuple[int, int, int, int] | None, target: Path) -> None:
    picture = Image.open(source).convert("RGB").crop(box)
    ratio = SHORT_SIDE / min(picture.size)
    size = (round(picture.width * ratio), round(picture.height * ratio))
    # PNG, not JPEG: decoders of JPEG differ in the last bit, and the generated data must not.
    picture.resize(size, Image.Resampling.LANCZOS).save(target, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for folder in ("mnist", "backgrounds"):
        (arguments.out / folder).mkdir(parents=True, exist_ok=True)
    for split, per_class in PER_CLASS.items():
        write_subset(arguments.mnist, arguments.out / "mnist", split, per_class)
    for name, (package, file, box) in PICTURES.items():
        write_picture(FOLDERS[package] / file, box, arguments.out / "backgrounds" / f"{name}.png")
    for path in sorted(arguments.out.glob("*/*")):
        print(hashlib.sha256(path.read_bytes()).hexdigest(), path.relative_to(arguments.out))


if __name__ == "__main__":
    main()
