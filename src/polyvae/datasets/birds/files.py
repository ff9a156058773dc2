"""Caltech-UCSD Birds as published: which picture belongs to which captions, by name; nothing is decoded here.

Two layouts, as folders or inside a .tar file: the official one (CUB_200_2011/images/CLASS/NAME.jpg with
text_c10/CLASS/NAME.txt, Wah et al. 2011, Reed et al. 2016) and that of the MMVAE code (train|test/CLASS/NAME.jpg with
text_trainvalclasses.txt and text_testclasses.txt, ten lines per image in sorted order, Shi et al. 2019).
"""

import hashlib
import lzma
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from polyvae import archives
from polyvae.datasets.polymnist.digits import resolve
from polyvae.errors import InputError

CAPTIONS = 10  # per image
IMAGES, TEXT, OFFICIAL = "CUB_200_2011/images/", "text_c10/", "CUB_200_2011/"
PUBLISHED = {"train": "text_trainvalclasses.txt", "test": "text_testclasses.txt"}
SHOWN, LISTED = 10, 1000  # names in a sentence; problems in a list
EXPECTED = (
    "CUB_200_2011/images/ with text_c10/, or train/ and test/ with text_trainvalclasses.txt and text_testclasses.txt, "
    "or a .tar file of the former"
)


@dataclass(frozen=True)
class Folder:
    """A folder of files; `changed` tells apart its states."""

    root: Path
    changed: str

    @staticmethod
    def at(root: Path) -> "Folder":
        return Folder(root, hashlib.sha256(repr(sorted(_listed(root).items())).encode()).hexdigest())

    def stamps(self) -> Mapping[str, tuple[int, int]]:
        """Path -> (size, time of change) of every file."""
        return _listed(self.root)

    def read(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """(path, content) of these files, in any order."""
        return ((path, (self.root / path).read_bytes()) for path in paths)


def _listed(root: Path) -> dict[str, tuple[int, int]]:
    stats = {path.relative_to(root).as_posix(): path.stat() for path in root.rglob("*") if path.is_file()}
    return {path: (status.st_size, status.st_mtime_ns) for path, status in stats.items()}


@dataclass(frozen=True)
class Archive:
    """A .tar file, compressed or not; `changed` is its own time of change."""

    path: Path
    changed: int

    def stamps(self) -> Mapping[str, tuple[int, int]]:
        return _members(self)

    def read(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        wanted = set(paths)
        with tarfile.open(self.path) as archive:
            for member in archive:
                if member.name in wanted and (file := archive.extractfile(member)) is not None:
                    yield member.name, file.read()


@lru_cache(maxsize=8)
def _members(archive: Archive) -> dict[str, tuple[int, int]]:
    try:
        with tarfile.open(archive.path) as file:
            found, total = {}, 0
            for member in file:
                total += member.size
                archives.check_unpacked(str(archive.path), total, archive.path.stat().st_size)
                if member.isfile():
                    found[member.name] = (member.size, int(member.mtime))
            return found
    except (OSError, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{archive.path} cannot be read as a .tar file ({error}); replace or remove it") from error


Files = Folder | Archive


class Pairs(NamedTuple):
    """captions: CLASS/NAME -> its ten captions, sorted by name. images: CLASS/NAME -> path of the picture.
    published: CLASS -> train or test, as the folders of the MMVAE layout say; empty for the official layout."""

    captions: dict[str, list[str]]
    images: dict[str, str]
    published: dict[str, str]


def find_files(data_dir: Path | str | None, prefix: str) -> Files:
    """What lies in `data_dir`/cub: the folder itself, else the .tar file with the most files below `prefix`.

    Raises InputError that says what was expected and what was found.
    """
    given = resolve(data_dir)
    if given is None:
        raise InputError("the birds need a data directory with a folder cub/; give --data-dir")
    folder = given / "cub"
    if not folder.is_dir():
        found = ", ".join(sorted(path.name for path in given.iterdir())[:SHOWN]) if given.is_dir() else "no such folder"
        raise InputError(f"{given} has no folder cub/ (found: {found or 'nothing'}); make one with {EXPECTED}")
    if any((folder / name).is_dir() for name in ("CUB_200_2011", "text_c10", "train")):
        return Folder.at(folder)
    archives = [Archive(path, path.stat().st_mtime_ns) for path in sorted(folder.glob("*.tar*"))]
    counts = {archive: sum(name.startswith(prefix) for name in archive.stamps()) for archive in archives}
    best = max(archives, key=counts.__getitem__, default=None)
    if best is None or not counts[best]:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:SHOWN])
        raise InputError(f"{folder} holds {found or 'nothing'}; expected {EXPECTED}")
    return best


def pair(files: Files, *, with_images: bool = True) -> Pairs:
    """Pictures and captions of the same name. with_images: False takes captions alone.

    Raises InputError that lists the files without a partner, and captions that are empty or not UTF-8, all at once.
    """
    stamps = files.stamps()
    is_official = any(path.startswith((IMAGES, TEXT)) for path in stamps)
    return _official(files, stamps, with_images) if is_official else _mmvae(files, stamps)


def refuse(problems: list[str], fix: str) -> None:
    """One error for all that is wrong."""
    if problems:
        more = f"\n  and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        lines = "".join(f"\n  {problem}" for problem in problems[:LISTED])
        raise InputError(f"{len(problems)} problems with the birds; {fix}:{lines}{more}")


def _official(files: Files, stamps: Mapping[str, tuple[int, int]], with_images: bool) -> Pairs:
    images = {p.removeprefix(IMAGES).rsplit(".", 1)[0]: p for p in stamps if p.startswith(IMAGES) and _is_picture(p)}
    texts = {p.removeprefix(TEXT).removesuffix(".txt"): p for p in stamps if p.startswith(TEXT) and p.endswith(".txt")}
    problems = []
    if with_images:
        problems += [f"{images[name]} has no {TEXT}{name}.txt" for name in sorted(set(images) - set(texts))]
        problems += [f"{texts[name]} has no {IMAGES}{name}.jpg" for name in sorted(set(texts) - set(images))]
    captions = {}
    names = {path: name for name, path in texts.items()}
    for path, content in files.read(texts.values()):
        captions[names[path]] = _lines(path, content, problems)
    refuse(problems, "every picture needs a file of captions of the same name, every caption its text in UTF-8")
    if not captions:
        raise InputError(f"no captions below {TEXT}; expected {EXPECTED}")
    return Pairs(dict(sorted(captions.items())), images if with_images else {}, {})


def _mmvae(files: Files, stamps: Mapping[str, tuple[int, int]]) -> Pairs:
    captions, images, published, problems = {}, {}, {}, []
    folds = {fold: sorted(p for p in stamps if p.startswith(f"{fold}/") and _is_picture(p)) for fold in PUBLISHED}
    classes = {fold: {path.split("/")[1] for path in paths} for fold, paths in folds.items()}
    problems += [f"class {name} is in train/ and in test/" for name in sorted(classes["train"] & classes["test"])]
    published_files = files.read(set(stamps) & set(PUBLISHED.values()))
    lines = {path: _lines(path, content, problems, None) for path, content in published_files}
    for fold, paths in folds.items():
        if PUBLISHED[fold] not in lines:
            problems.append(f"no {PUBLISHED[fold]}")
            continue
        text = lines[PUBLISHED[fold]]
        if len(text) != CAPTIONS * len(paths):
            counts = f"{len(text)} lines for {len(paths)} pictures in {fold}/, not {CAPTIONS} each"
            problems.append(f"{PUBLISHED[fold]} has {counts}")
            continue
        for index, path in enumerate(sorted(paths, key=lambda p: tuple(p.split("/")))):
            name = path.removeprefix(f"{fold}/").rsplit(".", 1)[0]
            captions[name], images[name] = text[CAPTIONS * index : CAPTIONS * (index + 1)], path
            published[path.split("/")[1]] = fold
    refuse(problems, f"expected {EXPECTED}")
    return Pairs(dict(sorted(captions.items())), images, published)


def _lines(path: str, content: bytes, problems: list[str], count: int | None = CAPTIONS) -> list[str]:
    """The captions in a file, one per line; what is wrong with them is added to `problems`."""
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        problems.append(f"{path} is not UTF-8 text (byte {error.start})")
        return []
    problems += [f"{path}, line {number}: empty caption" for number, line in enumerate(lines, 1) if not line.strip()]
    if count is not None and len(lines) != count:
        problems.append(f"{path} has {len(lines)} captions, not {count}")
    return [line.strip() for line in lines]


def _is_picture(path: str) -> bool:
    return path.lower().endswith((".jpg", ".jpeg", ".png"))


def _table(path: str, content: bytes) -> dict[str, str]:
    """First word of a line -> the rest of it."""
    try:
        lines = [line for line in content.decode("utf-8").splitlines() if line.strip()]
        return dict(line.split(" ", 1) for line in lines)
    except ValueError as error:  # not UTF-8, or a line of one word
        raise InputError(f"{path} is not a table of numbers and values, one per line ({error})") from error


def official_table(files: Files, name: str) -> dict[str, list[str]]:
    """CLASS/NAME -> the columns of an official table (train_test_split.txt, bounding_boxes.txt), by way of images.txt.

    Raises InputError when a table is missing.
    """
    wanted = {f"{OFFICIAL}{table}" for table in ("images.txt", name)}
    content = dict(files.read(wanted & set(files.stamps())))
    if missing := sorted(wanted - set(content)):
        raise InputError(f"no {missing[0]} among the birds' files; it belongs to the official layout")
    rows = {path: _table(path, data) for path, data in content.items()}
    names, table = rows[f"{OFFICIAL}images.txt"], rows[f"{OFFICIAL}{name}"]
    return {names[key].strip().rsplit(".", 1)[0]: value.split() for key, value in table.items() if key in names}
