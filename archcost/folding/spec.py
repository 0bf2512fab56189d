"""The spec of a network, and the proof that it is that network."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace

from archcost.errors import ArchcostError
from archcost.folding.blocks import Folder
from archcost.folding.flow import Flow
from archcost.folding.growth import gather
from archcost.folding.items import Item
from archcost.folding.labels import WORDS, forget, give_labels, name_groups
from archcost.folding.shared import Sharing, sharing_of, unnumbered
from archcost.folding.tree import tree_of
from archcost.folding.writer import lines, mapping
from archcost.network import NETWORK_INPUT, Network
from archcost.ops.base import FLOAT, Op
from archcost.shape import show
from archcost.spec.catalog import expand
from archcost.spec.document import read_document
from archcost.spec.source import Source
from archcost.units import number_of


def folded_spec(network: Network) -> str:
    """Return YAML that loads as the same layers, written as a person would.

    The layers are the same calls on the same tensors in the same order, so that every figure is
    equal; their names may differ. The text is loaded and compared before it is returned.

    Raises:
        ArchcostError: the network has what no spec can say; the text names the layer.
    """
    if not network.layers:
        raise ArchcostError(f"{network.name} has no layer, and a spec has at least one")
    source = plain(unnumbered(network))
    refused: ArchcostError | None = None
    for gaps in (True, False, None):
        try:
            return _checked(source, gaps)
        except ArchcostError as error:  # such blocks say something else, or not at all
            refused = refused or error
    assert refused is not None
    raise refused


def _checked(source: Network, gaps: bool | None) -> str:
    """Return the text of a spec that is compared with its network; ``gaps`` is for the blocks."""
    text = _text(source, gaps)
    made = loaded(text)
    pairs = matched(source, made)
    outputs = [pairs[name] for name in source.outputs]
    if outputs != [*made.outputs]:
        text += "outputs:\n" + "".join(f"  - {_output(made, name)}\n" for name in outputs)
        made = loaded(text)
        pairs = matched(source, made)
    if [pairs[name] for name in source.outputs] != [*made.outputs]:
        raise ArchcostError(f"{source.name}: the outputs of the spec are others")
    return text


def plain(network: Network) -> Network:
    """Return the network with arguments left out that say what is usual anyway."""
    layers = tuple(
        replace(layer, op=layer.op.replaced(stride=None))
        if layer.op.kind == "pool" and getattr(layer.op, "stride", None) == layer.op.kernel_size  # type: ignore[attr-defined]
        else layer
        for layer in network
    )
    return replace(network, layers=layers)


def _text(network: Network, gaps: bool | None) -> str:
    """Return the text of a spec.

    With ``gaps`` a block may lack what others of its class have; with None there are no blocks.
    """
    tree = tree_of(network)
    alone = len(network.inputs) == 1 and network.inputs[0].dtype == FLOAT
    inputs = {value.name: NETWORK_INPUT if alone else value.name for value in network.inputs}
    taken = {*inputs.values(), *WORDS}
    sharing = sharing_of(network, tree, taken)
    flow = Flow(network, sharing)
    several = {layer.path for layer in network if layer.cost.others}
    items = flow.items(tree, network.inputs[0].name)
    shared = _shared_items(network, flow, sharing)
    for part in (*shared.values(), items):
        name_groups(part, taken)
    for part in shared.values():
        give_labels(part, {}, taken, several)
    give_labels(items, inputs, taken, several)
    gather(items, taken)
    forget(items)
    folder = Folder(taken, gaps=bool(gaps))
    if gaps is not None:
        folder.fold(items)
    blocks = {block.head: block.items for block in folder.blocks.values()}
    body = [*mapping("blocks", blocks), *mapping("shared", shared)]
    body += ["layers:", *lines(items, "  ")]
    return "\n".join([*_head(network, inputs), *body]) + "\n"


def _shared_items(network: Network, flow: Flow, sharing: Sharing) -> dict[str, list[Item]]:
    from archcost.folding.flow import arguments
    from archcost.folding.items import Call

    made: dict[str, list[Item]] = {}
    for path, name in sharing.layers.items():
        op = network[path].op
        args, positional = arguments(op)
        made[name] = [Call(callee=op.name, args=args, positional=positional)]
    for name, node in sharing.first.items():
        made[name] = flow.items(node, next(node.layers()).inputs[0])
    return made


def _head(network: Network, inputs: Mapping[str, str]) -> list[str]:
    name = network.name.partition(", ")[0].rpartition(":")[2]
    found = [f"name: {_plain_name(name)}"]
    for key, text in (("title", network.title), ("paper", network.paper)):
        text = text.removesuffix(", as PyTorch runs it")
        plain = re.fullmatch(r"[A-Za-z][\w ,.()&/+-]*", text)
        told = text if plain else json.dumps(text, ensure_ascii=False)
        found += [f"{key}: {told}"] if text else []
    found += [f"year: {network.year}"] if network.year else []
    shapes = {
        inputs[value.name]: show(value.shape) + f" {value.dtype}" * (value.dtype != FLOAT)
        for value in network.inputs
    }
    if [*shapes] == [NETWORK_INPUT]:
        return [*found, f"input: {shapes[NETWORK_INPUT]}"]
    return [*found, "inputs:", *(f"  {label}: {shape}" for label, shape in shapes.items())]


def _plain_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", name.rpartition("/")[2]).lstrip("_.+-") or "network"


def loaded(text: str) -> Network:
    """Return the network of a spec that was written here."""
    document = read_document(Source("the written spec", text))
    return expand(document, "")


def _output(network: Network, name: str) -> str:
    path, _, place = name.partition(":")
    several = path in network.by_path and network[path].cost.others
    return f"{path}[{place or 0}]" if several else path


def matched(source: Network, made: Network) -> dict[str, str]:
    """Return what each tensor of a network is called in another one that has the same layers.

    Raises:
        ArchcostError: a layer is another op, reads other tensors, or has other parameters.
    """
    names = {a.name: b.name for a, b in zip(source.inputs, made.inputs, strict=True)}
    params: dict[str, str] = {}
    if len(source) != len(made):
        raise ArchcostError(
            f"the network has {number_of(len(source), 'layer')}, its spec {len(made)}"
        )
    for ours, theirs in zip(source, made, strict=True):
        reads = tuple(names[name] for name in ours.inputs)
        used = dict(
            zip(
                map(ours.full_name, ours.cost.params),
                map(theirs.full_name, theirs.cost.params),
                strict=True,
            )
        )
        wrong = (
            ours.op != theirs.op
            or reads != theirs.inputs
            or any(params.setdefault(a, b) != b for a, b in used.items())
            or [*ours.params] != [*theirs.params]
        )
        if wrong:
            told = f"{theirs.op.call(theirs.inputs)} in place of {ours.op.call(reads)}"
            raise ArchcostError(f"{ours.path}: the spec has {told}")
        names.update(zip(ours.outputs, theirs.outputs, strict=True))
    return names


def without_dropout(op: Op) -> Op:
    """Return attention as it is in evaluation, and any other op as it is."""
    return op.replaced(dropout=0.0) if op.name == "attention" else op


def is_trained_form(trained: Network, evaluated: Network) -> bool:
    """Whether a network in training is the same as in evaluation, except for random dropping."""
    names = {a.name: b.name for a, b in zip(trained.inputs, evaluated.inputs, strict=True)}
    waiting = iter(evaluated)
    for layer in trained:
        if layer.op.kind == "dropout" and layer.op.name != "dropout":
            names[layer.path] = names[layer.inputs[0]]
            continue
        other = next(waiting, None)
        same = other is not None and without_dropout(layer.op) == other.op
        if other is None or not same or tuple(names[n] for n in layer.inputs) != other.inputs:
            return False
        names.update(zip(layer.outputs, other.outputs, strict=True))
    outputs = tuple(names[name] for name in trained.outputs)
    return next(waiting, None) is None and outputs == evaluated.outputs
