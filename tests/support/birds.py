"""Birds and captions in both published layouts."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from polyvae.datasets.birds.files import IMAGES

CLASSES = ("001.Black_Bird", "002.Red_Bird", "003.Blue_Bird")
EACH = 4


def picture(seed: int, mode: str = "RGB") -> bytes:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8))
    target = io.BytesIO()
    small.resize((90, 60)).convert(mode).save(target, "JPEG", quality=95)
    return target.getvalue()


def caption(index: int, number: int) -> str:
    return f"a bird of kind k{index}, seen {'from the left' if number % 2 else 'twice'} ."


def write_birds(root: Path, each: int = EACH) -> Path:
    """Both layouts, from the same birds: official below root/a, MMVAE below root/b."""
    lines, table, boxes = {"train": [], "test": []}, [], []
    for index in range(len(CLASSES) * each):
        folder, name = CLASSES[index // each], f"Bird_{index:04d}"
        fold = "test" if index < each else "train"
        texts = [caption(index, number) for number in range(10)]
        image = picture(index, ("L", "CMYK", "RGB")[index % 3])
        for path in (f"a/cub/{IMAGES}{folder}/{name}.jpg", f"b/cub/{fold}/{folder}/{name}.jpg"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(image)
        text = root / f"a/cub/text_c10/{folder}/{name}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text("\n".join(texts) + "\n")
        lines[fold] += texts
        table.append(f"{index + 1} {folder}/{name}.jpg")
        boxes.append(f"{index + 1} 30.0 10.0 20.0 40.0")
    official = root / "a/cub/CUB_200_2011"
    (official / "images.txt").write_text("\n".join(table))
    (official / "bounding_boxes.txt").write_text("\n".join(boxes))
    (official / "train_test_split.txt").write_text("\n".join(f"{i + 1} {i % 2}" for i in range(len(table))))
    (root / "b/cub/text_trainvalclasses.txt").write_text("\n".join(lines["train"]))
    (root / "b/cub/text_testclasses.txt").write_text("\n".join(lines["test"]))
    return root
