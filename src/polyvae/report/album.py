"""Where the pictures of a page are: inside it, as long as there is room, else in files beside it."""

import base64
from pathlib import Path
from urllib.parse import quote

from polyvae import escapes, files

FOLDER = "pictures"


class Album:
    """Pictures for the page in `folder`; `room` is how many characters of base64 the page may hold."""

    def __init__(self, folder: Path, room: int) -> None:
        self.folder, self.room = folder, room

    def place(self, content: bytes, name: str, kind: str) -> str:
        """The address of a picture: a data URI, or that of a file of this name, which is written. kind: png or webp."""
        size = 4 * -(-len(content) // 3)
        if size <= self.room:
            self.room -= size
            return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        path = self.folder / FOLDER / f"{escapes.file_name(name)}.{kind}"
        with files.atomic(path) as temporary:
            temporary.write_bytes(content)
        return quote(f"{FOLDER}/{path.name}")
