"""Lecture text as a spec: the layer tables of slides, read as they are printed.

The notations, each with what it leaves unsaid and how that is filled in:

* ``[55x55x96] CONV1: 96 11x11 filters at stride 4, pad 0``: the shape is the output;
* ``CONV3-64: [224x224x64] memory: 224*224*64=3.2M params: (3*3*3)*64 = 1,728``;
* ``conv3-64 LRN`` in a table with a network in each column: every column is a variant
  (``vgg.txt::D``), and without one there is no network. ``maxpool`` is 2x2 at stride 2;
* ``Conv5-256, stride 1``: the number after Conv is the kernel;
* ``Conv 7 x 7 x 64 with stride 2``: the third number is the output channels. ``MaxPool`` is
  GoogLeNet's, 3x3 at stride 2, rounded up, which is how 112 becomes 56 and 28;
* ``Conv dw / s2 | 3x3x64 dw | 112x112x64``: filter K x K x Cin x Cout, and the input;
* ``inception (3a) | | 28x28x256 | 2 | 64 | 96 | ...``: GoogLeNet's table 1, a module in each row
  (:mod:`archcost.lectures.inception`);
* ``conv2_x | 56x56 | [1x1, 64; 3x3, 64; 1x1, 256] x3``: ResNet's table 1, a network in each column
  (:mod:`archcost.lectures.residual`, :mod:`archcost.lectures.blocks`).

``docs/lecture_tables.md`` has an example of each. Common to all: ReLU follows each convolution
and fully connected layer except the last; the first fully connected layer is preceded by flatten;
LRN has size 5, AlexNet's. Convolutions and fully connected layers have biases, with two exceptions.
The table with filter shapes prints every weight of a layer, so there are no biases and no batch
normalisation. MobileNet-V1 has 4,209,088 weights in this way; its 21,888 of batch normalisation and
1,000 biases are not in the table. In ResNet's table, convolutions have batch normalisation instead.

Padding that is not printed is the one that gives the printed shape (of this row, or the input of
the next). Where no shape is printed either, a convolution keeps the size (pad K // 2), and a
strided one does so unless its windows tile the input exactly without. A network whose text prints
no input takes 3x224x224; 3x227x227 if it begins with 11x11 at stride 4, which tiles only that.

A mistake in a text is never repaired silently, and each assumption is printed. The network follows
the printed shapes if there are any. ``Conv1-96, stride 4`` is AlexNet's 11x11. Padding that the
text leaves out is chosen as above, which gives the 62.3M parameters printed beside that list. Each
such place is a :class:`Claim` with a ``note``; its quantity is ``kernel_size``,
``stride``, ``padding``, ``repeat``, ``input``, ``bias`` or ``block``, and ``printed`` is the piece
of text that is wrong or incomplete, if there is one. Totals that the printed rows do not add up to
have a note as well. :mod:`archcost.printed` makes the network's remarks of them.
"""

from __future__ import annotations

import re

from archcost.errors import SpecError
from archcost.lectures.columns import read_columns
from archcost.lectures.grid import lines_of
from archcost.lectures.inception import read_inception
from archcost.lectures.listing import read_listing
from archcost.lectures.residual import read_residual
from archcost.spec.document import Document
from archcost.spec.source import Source

READERS = (read_inception, read_residual, read_columns, read_listing)
"""Each reads one kind of table, and returns None for a text that has none of its kind."""


def is_spec(source: Source) -> bool:
    """Whether a text is a YAML spec rather than lecture text; so is an empty one."""
    text = source.text.strip()
    key = r"""^["']?(?:layers|name|family|blocks|knobs|variants)["']?\s*:"""
    flow = text.startswith(("{", "---", "%YAML"))
    return not text or flow or bool(re.search(key, source.text, re.MULTILINE))


def read_lecture(source: Source) -> Document:
    """Read the layer table in a lecture's text; the prose around it is skipped.

    Raises:
        SpecError: no table or a second one, or a row that is not understood, with its line.
    """
    lines = lines_of(source)
    for reader in READERS:
        if document := reader(source, lines):
            return document
    raise SpecError(
        "no layer table found; its rows are printed as `[55x55x96] CONV1: 96 11x11 filters at "
        "stride 4, pad 0`, `CONV3-64: [224x224x64] memory: ... params: ...`, "
        "`Conv5-256, stride 1` or `Conv dw / s1 | 3x3x32 dw | 112x112x32`, or as in table 1 of "
        "GoogLeNet or ResNet",
        source.name,
    )
