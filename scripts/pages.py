"""The tables of the docs that are made from records: `python scripts/pages.py` writes them anew.

On a page a table stands between `<!-- made by COMMAND -->` and `<!-- end -->`; COMMAND prints it, too.
"""

import re
from collections.abc import Callable
from pathlib import Path

import applied
import budget
import methods_table
import table_1
import translated

from polyvae import files

DOCS = Path("docs")
TABLES: dict[str, Callable[[], list[str]]] = {
    "python scripts/methods_table.py": methods_table.table,
    "python scripts/table_1.py": table_1.table,
    "python scripts/translated.py --store docs/results/translated": translated.table,
    "python scripts/applied.py errors": applied.errors,
    "python scripts/applied.py codes": applied.codes,
    "python scripts/applied.py proteins": applied.proteins,
    "python scripts/budget.py learning": budget.learning,
    "python scripts/budget.py claims": budget.claims,
}
PLACE = re.compile(r"(<!-- made by (.+?) -->\n).*?(<!-- end -->)", re.S)


def anew(text: str) -> str:
    """A page with its tables as the records are now."""
    return PLACE.sub(lambda found: "".join((found[1], *(f"{line}\n" for line in TABLES[found[2]]()), found[3])), text)


def main() -> None:
    for page in sorted(DOCS.glob("*.md")):
        if (text := page.read_text()) != (fresh := anew(text)):
            files.write_text(page, fresh)
            print(page)


if __name__ == "__main__":
    main()
