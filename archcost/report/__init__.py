"""A page on one or several networks: what it holds (``page``), and how it is written.

``html`` writes a page that stands alone, ``markdown`` a comment for a pull request, ``junit`` test
cases for CI; :meth:`archcost.report.page.Page.to_dict` is the JSON.
"""

from __future__ import annotations

from collections.abc import Mapping

FORMATS: Mapping[str, str] = {
    "html": "a page that needs no network",
    "markdown": "a comment for a pull request",
    "json": "all figures, for programs",
    "junit": "XML with a test case of every published figure, budget and check, for CI",
}
"""The formats of ``archcost report``, and what each is for."""
ENDINGS: Mapping[str, str] = {
    ".html": "html", ".htm": "html", ".md": "markdown", ".json": "json", ".xml": "junit",
}  # fmt: skip
"""The format of a file by its ending."""
