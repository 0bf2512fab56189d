"""A page on one or several networks: what it holds (``page``), and how it is written.

``html`` writes a page that stands alone, ``markdown`` a comment for a pull request, ``junit`` test
cases for CI; :meth:`archcost.report.page.Page.to_dict` is the JSON.
"""

from __future__ import annotations

FORMATS = ("html", "markdown", "json", "junit")
"""The formats of ``archcost report``."""
