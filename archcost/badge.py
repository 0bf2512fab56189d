"""A badge: one figure as a small SVG for a README, in the usual flat form."""

from __future__ import annotations

from html import escape

COLORS = {"plain": "#0b62b8", "holds": "#1f7a33", "over": "#b3261e"}
"""Backgrounds on which white text has a contrast of at least 5 to 1."""
_LABEL = "#4a4a4a"
_HEIGHT, _SIDE = 20, 6
# widths in Verdana at 11 px, in tenths of a pixel, of characters that are not 7 px wide
_WIDTHS = {
    **dict.fromkeys("ijl.,:;|!'", 40), **dict.fromkeys("frt()[]- I", 48),
    **dict.fromkeys("mw%MWGOQ@", 95), **dict.fromkeys("ABCDHKNPRUVXY<>=+", 80),
}  # fmt: skip


def text_width(text: str) -> int:
    """Return about how many pixels a text takes; the text is then drawn to that length."""
    return -(-sum(_WIDTHS.get(char, 70) for char in text) // 10)


def badge(label: str, value: str, color: str = "plain") -> str:
    """Return an SVG with a label on the left and a value on the right.

    Args:
        label: what it is: ``resnet50 MACs``.
        value: the figure: ``4.089G``.
        color: one of :data:`COLORS`.
    """
    left, right = text_width(label), text_width(value)
    middle, width = left + 2 * _SIDE, left + right + 4 * _SIDE
    label, value = escape(label), escape(value)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HEIGHT}" \
role="img" aria-label="{label}: {value}">
  <title>{label}: {value}</title>
  <rect width="{width}" height="{_HEIGHT}" rx="3" fill="{COLORS[color]}"/>
  <path d="M3 0H{middle}V{_HEIGHT}H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z" fill="{_LABEL}"/>
  <g fill="#fff" font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="11">
    <text x="{_SIDE}" y="14" textLength="{left}">{label}</text>
    <text x="{middle + _SIDE}" y="14" textLength="{right}">{value}</text>
  </g>
</svg>"""
