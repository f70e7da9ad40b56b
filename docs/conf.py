"""The documentation's configuration."""

import os
import sys
from pathlib import Path

from serialnet import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
# The width of the help texts, whatever the terminal.
os.environ["COLUMNS"] = "88"

project = "serialnet"
project_copyright = "the serialnet authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "declared"]
exclude_patterns = ["_build", "_ext"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"serialnet {version}"
html_copy_source = False
html_show_sphinx = False

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
