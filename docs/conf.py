"""The documentation site: `make docs` builds it from the pages beside this file, the registry and the docstrings."""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))
# The notebooks call `polyvae` and train: with the environment of this build, on one thread, beside each other.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TTY_COMPATIBLE"] = "0"  # a kernel asks for colours, which a page would show as codes

import polyvae  # noqa: E402

project = "polyvae"
author = "The polyvae authors"
release = polyvae.__version__
copyright = "the polyvae authors; Apache-2.0"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "pages",
    "docstrings",
]
exclude_patterns = ["_ext", "_static", "results/records", "results/methods", "results/translated", "results/normal"]

# Pages: Markdown that a forge shows as well, and notebooks in Markdown that each build executes.
myst_enable_extensions = ["colon_fence", "attrs_inline"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 900  # seconds per cell, for machines that are busy
nb_execution_show_tb = True
nb_merge_streams = True

highlight_language = "none"  # of blocks that name no language: commands and formulas

# Docstrings: short names, and links wherever a name in backticks is one that these pages describe.
default_role = "py:obj"
add_module_names = False
autodoc_member_order = "groupwise"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
suppress_warnings = ["ref.python"]  # several modules offer the same name; a link leads to the first of them

html_theme = "furo"
html_title = "polyvae"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
copybutton_selector = "div.highlight:not(.output *) pre"
