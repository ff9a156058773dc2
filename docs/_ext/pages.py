"""The pages of the site that are made rather than written: methods, API, navigation, what lies outside `docs`.

They are written below `docs/methods`, `docs/api` and `docs/project`, which git ignores, before Sphinx looks for
sources.
"""

import re
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path, PurePosixPath

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

import polyvae
from polyvae.cli.listing import defaults, facts
from polyvae.config import RunConfig
from polyvae.methods import METHODS, Method, file_of

DOCS = Path(__file__).parent.parent
ROOT = DOCS.parent
MADE = ("methods", "api", "project")

# Caption in the navigation -> pages, some with a shorter title. A page of `docs` that no group names joins the guide.
GUIDE = "Guide"
NAVIGATION = {
    "Tutorials": ["tutorials/tables", "tutorials/captions", "tutorials/methods"],
    GUIDE: ["data", "likelihoods", "choosing", "experiments", "captions", "Sharing a model <sharing>", "performance"],
    "Methods": [
        *("methods/index", "Formulas, settings, traps <methods>"),
        *("objectives", "Theory <theory>", "Notation <notation>"),
    ],
    "Results": ["gallery", "results", "results/claims", "metrics"],
    "Reference": ["api/index", "project/plugins", "architecture", "project/contributing", "project/changelog"],
}

# Tables of measured numbers, whose first column names a method.
MEASURED = (
    ("methods.md", "Side by side on PolyMNIST"),
    ("results.md", "Translated PolyMNIST, solved"),
    ("methods.md", "What a small run shows"),
)
BESIDE = ("unimodal", "mvae", "mmvae", "mopoe")  # rows that are shown with that of any method

API = {  # module of polyvae -> what it is
    "datasets": "data sets by name",
    "subsets": "S, the set of weighted subsets that makes a member of the family",
    "gaussian": "Gaussians, their products and mixtures",
    "objectives": "objectives, recipes of terms, regularisers",
    "methods": "the table of methods",
    "models": "the contract of models, and the models",
    "likelihoods": "likelihoods, and what draws from them",
    "networks": "encoders and decoders",
    "priors": "distributions of z",
    "metrics": "metrics, and the networks that they look through",
    "theory": "entropies, the generative discrepancy, certified bounds",
    "plugins": "plug-ins",
}
TOP = {
    "Train and keep": ("run", "RunConfig", "RunResult", "Record", "RunStore", "load", "load_calibration"),
    "Use a model": ("MultimodalVAEImputer", "generate", "impute", "Imputed", "ImputedText"),
    "Data and models": ("MultimodalDataset", "Modality", "Batch", "Model", "MultimodalVAE", "Gaussian"),
    "Check": ("audit", "estimate"),
    "Errors": ("InputError", "RunError"),
}


def make_pages(app: Sphinx) -> None:
    """Writes all of them; a page that has not changed is left alone, one that is no longer made is removed."""
    pages = dict(_methods()) | dict(_api()) | dict(_project())
    for folder in MADE:
        for old in (DOCS / folder).glob("*.md"):
            if f"{folder}/{old.name}" not in pages:
                old.unlink()
    for name, text in pages.items():
        place = DOCS / name
        place.parent.mkdir(exist_ok=True)
        if not place.is_file() or place.read_text() != text:
            place.write_text(text)


def _methods() -> Iterator[tuple[str, str]]:
    rows = [f"| [`{m.name}`]({m.name}.md) | {m.summary} | {m.source} |" for m in METHODS.values()]
    listed = "\n".join(["| method | what it is | source |", "|---|---|---|", *rows])
    pages = "\n".join(sorted(METHODS))
    yield (
        "methods/index.md",
        f"# All methods\n\n{INTRODUCTION}\n\n{listed}\n\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n",
    )
    for method in METHODS.values():
        yield f"methods/{method.name}.md", "\n\n".join(_method(method)) + "\n"


INTRODUCTION = f"""{len(METHODS)} methods share one training loop, one set of metrics and one command:
`polyvae run --method NAME`. Each page states what a method is, what it maximises, its options, and what was measured.
[Choosing](../choosing.md) helps you find the one that suits your data, and [Methods](../methods.md) says what they have
in common and how to add your own."""


def _method(method: Method) -> Iterator[str]:
    yield f"# {method.name}\n\n*{method.summary[0].upper()}{method.summary[1:]}.*"
    said = {key: value for key, value in facts(method).items() if key != "options"}
    cost = "modalities encoded + decoded per row and step, of 5"
    said |= {"cost": f"{said['cost']} ({cost})"}
    yield "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in said.items())])
    options = " --method-options NAME=VALUE" if method.options else ""
    flags = " --only m0" if method.is_single else " --subsets FILE.json" if method.mixture is None else ""
    yield f"```\npolyvae run --dataset polymnist --modalities 3 --method {method.name}{flags}{options}\n```"
    if method.options:
        yield "## Options\n\n" + "\n\n".join(_options(method.options, defaults(method)))
    file = file_of(method)
    name = (file.__name__ if file else "").rpartition(".")[2]
    if file and file.__doc__ and name != "family":
        yield f"## What it maximises\n\n{file.__doc__.strip()}"
    if section := _section_about(f"`methods/{name}.py`"):
        yield f"## Settings, traps, proofs\n\n{section}"
    else:
        yield (
            "## What it maximises\n\nA member of the family: L_S (paper, eq. 2) with its own S. "
            "[The family](../methods.md#the-family) has the table, [Objectives](../objectives.md) the derivation."
        )
    yield "## Measured\n\n" + ("\n\n".join(_measured(method.name)) or "None of the comparisons in these pages has it.")


def _options(options: type, values: dict[str, str]) -> Iterator[str]:
    yield "\n".join(
        ["| option | default |", "|---|---|", *(f"| `{name}` | {value} |" for name, value in values.items())]
    )
    for part in options.__mro__:
        if (text := part.__dict__.get("__doc__")) and part is not object:
            yield re.sub(rf"\b({'|'.join(values)})\b(?=(, \w+)*: )", r"**\1**", re.sub(r"\s+", " ", text).strip())


def sections(page: str) -> dict[str, str]:
    """heading -> text of the sections of any level of a page of `docs`, each without those below it."""
    parts = re.split(r"^#{2,} (.*)\n", (DOCS / page).read_text(), flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _section_about(file: str) -> str:
    found = (text for text in sections("methods.md").values() if file in text.strip().partition("\n")[0])
    return from_below(next(found, "").strip(), "methods.md")


def from_below(text: str, page: str) -> str:
    """Text of a page of `docs` with its links as a page of a folder in `docs` has to write them."""
    return re.sub(r"\]\((?!https?:)(#?)", lambda m: f"](../{page}#" if m[1] else "](../", text)


def _measured(name: str) -> Iterator[str]:
    for page, heading in MEASURED:
        text = sections(page)[heading]
        for head, rule, body in re.findall(r"^(\| method .*\n)(\|-.*\n)((?:\|.*\n)+)", text, re.M):
            rows = body.splitlines()
            if any(line.startswith(f"| `{name}`") for line in rows):
                kept = [line for line in rows if re.match(rf"\| `({'|'.join((name, *BESIDE))})`", line)]
                marked = (re.sub(r"^\| `\w+`", r"\g<0> ←", line) if f"| `{name}`" in line else line for line in kept)
                anchor = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
                yield f"From [{heading}](../{page}#{anchor}), which says how it was measured."
                yield from_below(head + rule + "\n".join(marked), page)


def _api() -> Iterator[tuple[str, str]]:
    yield "api/index.md", "\n\n".join(_top()) + "\n"
    for name in API:
        options = [":members:", f":exclude-members: {', '.join(_elsewhere(name))}"]
        options += [":imported-members:"] if hasattr(import_module(f"polyvae.{name}"), "__all__") else []
        yield f"api/{name}.md", f"# pv.{name}\n\n{_directive('automodule', f'polyvae.{name}', *options)}\n"


def _directive(kind: str, of: str, *options: str) -> str:
    return "```{eval-rst}\n" + "\n   ".join([f".. {kind}:: {of}", *options]) + "\n```"


def _elsewhere(module: str) -> Iterator[str]:
    """Names of a module that the first page of the API, or that of another module, describes."""
    top = [getattr(polyvae, name) for names in TOP.values() for name in names]
    for name, value in vars(import_module(f"polyvae.{module}")).items():
        home = f"{getattr(value, '__module__', None) or ''}."
        is_others = any(home.startswith(f"polyvae.{other}.") for other in API if other != module)
        if any(value is known for known in top) or is_others:
            yield name


def _top() -> Iterator[str]:
    described = {name for names in TOP.values() for name in names} | set(API)
    if missing := {name for name in polyvae.__all__ if not name.startswith("__")} - described:
        raise LookupError(f"docs/_ext/pages.py: TOP and API leave out {', '.join(sorted(missing))}")
    yield "# Python\n\n`import polyvae as pv` offers these names. Modules have their own pages."
    yield "\n".join(
        ["| module | what it holds |", "|---|---|", *(f"| [`pv.{m}`]({m}.md) | {t} |" for m, t in API.items())]
    )
    for heading, names in TOP.items():
        yield f"## {heading}"
        for name in names:
            if name == "RunConfig":
                yield _directive("autoclass", "polyvae.RunConfig(**settings)")
                yield "\n".join(_settings())
            elif isinstance(getattr(polyvae, name), type):
                yield _directive("autoclass", f"polyvae.{name}", ":members:")
            else:
                yield _directive("autofunction", f"polyvae.{name}")
    yield "```{toctree}\n:hidden:\n\n" + "\n".join(API) + "\n```"


def _settings() -> Iterator[str]:
    """A table of the settings of a run; each is also a flag of `polyvae run`."""
    said = ModuleAnalyzer.for_module("polyvae.config").find_attr_docs()
    texts = {name: " ".join(lines).strip() for (_, name), lines in said.items()}
    yield from ("| setting | default | what it is |", "|---|---|---|")
    for field in fields(RunConfig):
        meaning = re.sub(r"([|*])", r"\\\1", texts[field.name])
        yield f"| `{field.name}` | `{field.default!r}` | {meaning} |"


def _project() -> Iterator[tuple[str, str]]:
    for name in ("CHANGELOG", "CONTRIBUTING"):
        text = re.sub(r"\]\(docs/", "](../", (ROOT / f"{name}.md").read_text())
        yield f"project/{name.lower()}.md", text
    example = (ROOT / "tests" / "plugins" / "mmvae_plus.py").read_text()
    text = from_below(sections("architecture.md")["Where a new thing goes"].strip(), "architecture.md")
    yield "project/plugins.md", f"# Plug-ins\n\n{text}\n\n## MMVAE+ as a plug-in\n\n```python\n{example}```\n"


def adapt(app: Sphinx, docname: str, source: list[str]) -> None:
    """The navigation joins the start page; the table of claims gets a heading; folders are named, not linked."""
    if docname == "index":
        source[0] += "\n" + "\n".join(_navigation(app.env.found_docs))
    if docname == "results/claims":
        source[0] = "# Claims\n\nWhat the paper says against the [recorded runs](../results.md), and how it is " + (
            f"[decided](../metrics.md#claims).\n\n{source[0]}"
        )
    here = PurePosixPath(docname).parent

    def named(link: re.Match[str]) -> str:
        return f"`{link[1].strip('`')}`" if (DOCS / here / link[2]).is_dir() else link[0]

    source[0] = re.sub(r"\[([^]]*)\]\((?!https?:|#)([^)#\s]+)\)", named, source[0])


def _navigation(found: set[str]) -> Iterator[str]:
    grouped = {re.sub(r".*<|>", "", page) for pages in NAVIGATION.values() for page in pages} | {"index"}
    for caption, pages in NAVIGATION.items():
        others = sorted(page for page in found - grouped if "/" not in page) if caption == GUIDE else []
        yield f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join([*pages, *others]) + "\n```\n"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", make_pages)
    app.connect("source-read", adapt)
    return {"parallel_read_safe": True}
