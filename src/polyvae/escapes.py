"""Text of users, and of files, on its way to somewhere else: one escape for each medium, applied where it leaves."""

import hashlib
import re

# Control characters (C0 but tab and newline, C1), and those that turn the direction of what follows.
UNSEEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
LABEL = 40  # characters beside a curve: longer ones leave no room for it
MOST_BYTES = 160  # of a file name: an ending, a prefix and the like still fit into the 255 that file systems take


def terminal(text: str) -> str:
    """Text to print: what a terminal would obey is shown as \\x1b and the like."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def xml(text: str) -> str:
    """XML or HTML without the characters that it cannot hold."""
    return NO_XML.sub("\ufffd", text)


def cell(text: str) -> str:
    """Text in a cell of a CSV file that a spreadsheet takes for text, not for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def label(text: str) -> str:
    """A name in a figure and its legend: unchanged where it fits, else shortened, with a hash of the whole.

    Matplotlib hides what starts with an underscore, so such a name gets a space in front.
    """
    start = text if len(text) <= LABEL else f"{text[: LABEL - 7]}\u2026{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    return f" {start}" if start.startswith("_") else start


def file_name(text: str) -> str:
    """Text as one part of a path: unchanged where it can be, else shortened, with a hash of the whole."""
    plain = re.sub(r"[^\w.+-]", "_", text)
    if len(plain.encode()) > MOST_BYTES:
        start = plain.encode()[: MOST_BYTES - 11].decode(errors="ignore")
        plain = f"{start}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    return f"_{plain}" if plain[:1] in ("", ".") else plain
