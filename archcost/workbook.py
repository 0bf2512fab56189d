"""A table as an Excel workbook: numbers stay numbers, and the notes say how they were counted."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from archcost.errors import ArchcostError
from archcost.table import Cell, Table, show_cell

EXACT = 10**15
"""Excel keeps 15 digits; a larger whole number is written as text, so that none is lost."""


def write_workbook(table: Table, path: Path) -> None:
    """Write a table as ``.xlsx``: headings, rows and totals; title and notes on a second sheet.

    Subtotals are left out, as in every data format.

    Raises:
        ArchcostError: openpyxl is not installed.
    """
    try:
        from openpyxl import Workbook  # type: ignore[import-untyped]
        from openpyxl.styles import (  # type: ignore[import-untyped]
            Alignment,
            Border,
            Font,
            PatternFill,
            Side,
        )  # fmt: skip
        from openpyxl.utils import get_column_letter  # type: ignore[import-untyped]
    except ImportError:
        raise ArchcostError("Excel files need openpyxl: pip install 'archcost[excel]'") from None

    table = table.data or table
    book = Workbook()
    sheet = book.active
    sheet.title = re.sub(r"[\[\]:*?/\\]", " ", table.title.partition(":")[0])[:31] or "archcost"
    bold, line = Font(bold=True), Border(top=Side(style="thin"))
    for x, column in enumerate(table.columns, 1):
        _fill(sheet.cell(1, x), column.heading)
        sheet.cell(1, x).font = bold
        sheet.cell(1, x).fill = PatternFill("solid", fgColor="E8EDF2")
        sheet.cell(1, x).alignment = Alignment(horizontal="right" if column.numeric else "left")
    for y, row in enumerate((*table.rows, *table.footer), 2):
        for x, (column, value) in enumerate(zip(table.columns, row, strict=True), 1):
            cell = sheet.cell(y, x)
            _fill(cell, value)
            if column.numeric:
                cell.alignment = Alignment(horizontal="right")
            if y > len(table.rows) + 1:
                cell.font, cell.border = bold, line
    for x in range(1, len(table.columns) + 1):
        texts = [table.columns[x - 1].heading, *(cells[x - 1] for cells in table.shown())]
        sheet.column_dimensions[get_column_letter(x)].width = min(max(map(len, texts)) + 2, 60)
    sheet.freeze_panes = "B2"
    last = f"{get_column_letter(len(table.columns))}{len(table.rows) + 1}"
    sheet.auto_filter.ref = f"A1:{last}"
    about = book.create_sheet("how it was counted")
    about.column_dimensions["A"].width = 120
    for y, words in enumerate(filter(None, (table.title, *table.notes)), 1):
        _fill(about.cell(y, 1), words)
        about.cell(y, 1).alignment = Alignment(wrap_text=True)
    book.save(path)


def _fill(cell: Any, value: Cell) -> None:
    """Write a value; text is never taken for a formula."""
    if isinstance(value, Fraction):
        value = float(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = int(value)
        if abs(value) < EXACT:
            cell.value, cell.number_format = value, "#,##0"
            return
        value = show_cell(value)
    if isinstance(value, str):
        value = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", " ", value)
    cell.value = value
    if isinstance(value, str):
        cell.data_type = "s"
