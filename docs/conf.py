"""Sphinx: ``tox -e docs``. The pages are Markdown, to be read on a code host as well."""

import re
from pathlib import Path

_source = (Path(__file__).parent.parent / "bergizi_redis" / "__init__.py").read_text()

project = "bergizi_redis"
author = "bergizi_redis contributors"
release = re.findall(r'__version__ = "(.+)"', _source)[0]
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"bergizi_redis {release}"
