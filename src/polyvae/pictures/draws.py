"""What a reader of the report can ask a run: precomputed draws of pictures and text, for some rows and many choices
of what is given."""

import io
from base64 import b64encode
from collections.abc import Sequence
from itertools import chain, combinations
from pathlib import Path

from PIL import Image
from torch import Tensor, nn

from polyvae import files
from polyvae.dataset import MultimodalDataset
from polyvae.metrics.protocol import measuring
from polyvae.models.contract import Model, code_draws
from polyvae.pictures.grids import COLUMNS, decoded, example_rows, shown
from polyvae.pictures.pages import Row, arrange, coloured
from polyvae.schema import DrawsFile

DRAWS = 4  # of each row and each thing given
FEW = 4  # modalities, of which every subset is given; of more, single ones and all but one
LARGEST = 128  # pixels of a picture
HIGHEST = 16_000  # pixels of a sheet, which WebP limits
QUALITY = 90  # of WebP: a seventh of the size of PNG, without a difference that an eye finds


def write_draws(model: Model, data: MultimodalDataset, path: Path, *, seed: int = 0, columns: int = COLUMNS) -> None:
    """Writes what the model draws of images and text, given some of them, to a JSON file (`schema.DrawsFile`).

    The rows are those of the sample grids; without any, nothing is written. Given nothing, draws are joint samples.
    """
    specs = {m.name: m for m in model.modalities if m.is_image or m.vocabulary}
    with measuring(model, data, least=0, seed=seed) as trial:
        if not (rows := tuple(example_rows(data, columns))):
            return
        batch = data.batch(rows)
        images: dict[str, list[Tensor]] = {}
        texts: dict[str, list[list[str]]] = {}

        def add(name: str, row: Row) -> None:
            if isinstance(row, list):
                texts.setdefault(name, []).append(row)
            else:
                images.setdefault(name, []).append(row)

        for name, modality in specs.items():
            add(name, shown(modality, batch.values[name]))
        sets = given_sets(tuple(specs))
        for given in sets:
            targets = tuple(name for name in specs if name not in given)
            draw = (
                code_draws(model, batch, given, targets) if given else lambda noise: model.prior_codes(len(rows), noise)
            )
            for i in range(DRAWS):
                codes = draw(trial.noise(f"draws/{i}", rows))
                drawn = decoded(model, {name: codes[name] for name in targets})
                for name in targets:
                    add(name, drawn[name])
    content = DrawsFile(
        columns=len(rows),
        draws=DRAWS,
        given=[list(given) for given in sets],
        images={name: _sheet(lines) for name, lines in images.items()},
        texts=texts,
    )
    files.write_json(path, content)


def given_sets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """What is given, nothing first: the proper subsets of up to four modalities, else single ones and all but one."""
    sizes = range(1, len(names)) if len(names) <= FEW else (1, len(names) - 1)
    return [(), *chain(*(combinations(names, size) for size in sizes))]


def _sheet(lines: Sequence[Tensor]) -> str:
    """The lines below each other as WebP in base64; large pictures are shrunk by a whole factor."""
    largest = min(LARGEST, HIGHEST // len(lines) - 1)
    buffer = io.BytesIO()
    Image.fromarray(arrange([[_shrunk(images, largest) for images in lines]])).save(buffer, "WEBP", quality=QUALITY)
    return b64encode(buffer.getvalue()).decode()


def _shrunk(images: Tensor, largest: int) -> Tensor:
    """Pictures (column, 3, height, width) of at most `largest` pixels to a side."""
    drawn = coloured(images).float()
    factor = -(-max(drawn.shape[-2:]) // largest)
    return nn.functional.avg_pool2d(drawn, factor) if factor > 1 else drawn
