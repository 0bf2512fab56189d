"""Pictures of what networks cost: one file per kind, and one per way of drawing.

``layers``, ``scatter``, ``timeline``, ``receptive``, ``memory``, ``roofline`` and ``graph`` make a
:class:`~archcost.plot.picture.Picture` or :class:`~archcost.plot.diagram.Diagram`, which are plain
data; ``matplotlib_file`` writes them as PNG, SVG or PDF, ``svg`` as part of a page without
matplotlib, ``terminal`` as text.
"""

from __future__ import annotations

KINDS = ("layers", "scatter", "timeline", "receptive", "memory", "roofline", "graph")
"""The kinds of pictures, each a file of this package with a function of the same name."""
