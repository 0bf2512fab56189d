"""The PyTorch reading: the program of an op as the source of a module, or as an expression.

The program runs on tensors without numbers, and every call of a primitive is written down. What
the program nests is nested; what it names is assigned to that name, so that the module keeps each
tensor alive as long as the program does.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from types import FrameType
from typing import Any

from archcost.errors import ArchcostError
from archcost.ops import Op
from archcost.packages import import_package
from archcost.primitives.row import Composite, Primitive
from archcost.readings.ledger import INPUTS, PARAMETERS
from archcost.readings.spelling import spelled
from archcost.readings.storages import FLOAT_BYTES, Storages
from archcost.readings.tensors import Tensor
from archcost.readings.words import BATCH, Written
from archcost.setting import Setting
from archcost.shape import Shape, show

TORCHVISION = "torchvision"


class Value(Written):
    """A tensor of a program, which ``step`` has made: its name there, and the steps that read it.

    ``local`` is its name in a function that the program calls.
    """

    __slots__ = ("local", "name", "step", "tensor", "uses")

    def __init__(self, tensor: Tensor, step: Step | None = None, text: str = "") -> None:
        super().__init__(text, tensor.shape)
        self.tensor, self.step, self.name, self.local = tensor, step, "", ""
        self.uses: list[Step] = []


class Step:
    """A call of a primitive.

    Attributes:
        place: its number.
        outs: what it makes.
        listed: the name of the list of ``outs``, if the program names it.
        several: whether it makes a list.
        nested: whether it is written inside another one.
    """

    __slots__ = ("args", "listed", "name", "nested", "options", "outs", "place", "several")

    def __init__(self, place: int, name: str) -> None:
        self.place, self.name, self.listed = place, name, ""
        self.nested = self.several = False
        self.args: list[Any] = []
        self.options: dict[str, Any] = {}
        self.outs: list[Value] = []

    @property
    def uses(self) -> list[Step]:
        """The steps that read what it makes."""
        return [use for out in self.outs for use in out.uses]


class Recorder(Storages):
    """Runs the program of an op, whose inputs have names, and writes it down.

    ``inside`` says that an operation runs that is a program itself.
    """

    inside = False

    def __init__(
        self, op: Op, shapes: Sequence[Shape], names: Sequence[str], training: bool
    ) -> None:
        super().__init__(Setting(device="cpu"), training, exact=False)
        self.batch = BATCH
        self.code = type(op).forward.__code__
        self.values: dict[int, Value] = {}
        self.steps: list[Step] = []
        self.around: dict[int, int] = {}  # the statement in which each step is written
        self.held: dict[str, Value] = {}  # what a name is assigned
        self.inside = False  # a primitive, whose own operations are not written down
        self.borrowed: dict[str, int] = {}  # where names that are not the program's end
        inputs = [self.leaf((BATCH, *shape), INPUTS, FLOAT_BYTES) for shape in shapes]
        cost = op.cost(*shapes)
        sizes = {**cost.params, **cost.buffers}
        held = {name: self.leaf(shape, PARAMETERS, FLOAT_BYTES) for name, shape in sizes.items()}
        for name, tensor in (*zip(names, inputs, strict=True), *held.items()):
            self._add(tensor, None, f"self.{name}" if name in held else name)
        made = op.forward(self, *inputs, **held)
        self.results = [self.values[id(each)] for each in (made if cost.others else [made])]

    def call(self, primitive: Primitive, *args: Any, **options: Any) -> Any:
        """Run a primitive, and write it down."""
        return self._write(primitive.name, partial(super().call, primitive), args, options)

    def compose(self, composite: Composite, *args: Any, **options: Any) -> Any:
        """Run an operation that is a program, and write it down as one call."""
        return self._write(composite.name, partial(super().compose, composite), args, options)

    def _write(
        self, name: str, run: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]
    ) -> Any:
        if self.inside:
            return run(*args, **options)
        step = Step(len(self.steps), name)
        step.args = [self._read(arg, step) for arg in args]
        step.options = {name: self._read(option, step) for name, option in options.items()}
        self.steps.append(step)
        self.inside = True
        made = run(*args, **options)
        self.inside = False
        step.several = isinstance(made, list)
        step.outs = [self._add(out, step) for out in (made if step.several else [made])]
        return made

    def _add(self, tensor: Tensor, step: Step | None, text: str = "") -> Value:
        self.values[id(tensor)] = made = Value(tensor, step, text)
        return made

    def _read(self, arg: Any, step: Step) -> Any:
        if not isinstance(arg, Tensor):
            return arg
        value = self.values[id(arg)]
        if value.step is not None and not value.uses:
            self._find_name(value, value.step)
        value.uses.append(step)
        return value

    def _find_name(self, value: Value, step: Step) -> None:
        """Look a tensor up among the local variables of the program, and of what it calls."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            own = frame.f_code.co_filename == __file__
            for name, held in () if own else frame.f_locals.items():
                if isinstance(held, list) and step.several and held[:1] == [step.outs[0].tensor]:
                    step.listed = name
                    return
                if held is value.tensor:
                    value.local = value.local or name
                    if frame.f_code is self.code:
                        value.name = name
                        return
            frame = None if frame.f_code is self.code else frame.f_back

    def nest(self, flat: bool) -> None:
        """Find the steps that are written inside others: if ``flat``, whatever has a name.

        A nested expression must not move past a statement between.
        """
        behind = -1
        for step in reversed(self.steps):
            uses = step.uses
            named = step.listed or any(out.name for out in step.outs)
            step.nested = len(uses) == 1 and (flat or not named)
            step.nested = step.nested and self.around[uses[0].place] == behind
            behind = behind if step.nested else step.place
            self.around[step.place] = behind

    def body(self, flat: bool = False) -> list[str]:
        """Return the lines of the function."""
        self.nest(flat)
        lines: list[str] = []
        for step in self.steps:
            self._check(step)
            text, level = spelled(step.name, step.args, step.options)
            last = not step.uses and any(out in self.results for out in step.outs)
            if last and step.outs == self.results:
                return [*lines, f"return {text}"]
            for i, out in enumerate(step.outs):
                if step.nested or last:
                    out.text, out.level = f"{text}[{i}]" if step.several else text, level
                elif step.listed:
                    out.text = f"{step.listed}[{i}]"
                else:
                    out.text = self._name(out, step) if out.uses else "_"
                    self.held[out.text] = out
            if step.nested or last:
                continue
            names = step.listed or ", ".join(map(str, step.outs))
            lines.append(f"{names} = {text}" if step.uses else text)
            for name in [name for name, end in self.borrowed.items() if end == step.place]:
                del self.borrowed[name]
                lines.append(f"del {name}")
        return [*lines, f"return {', '.join(map(str, self.results))}"]

    def _name(self, value: Value, step: Step) -> str:
        """Return a value's name in the program, or one that is free while the value is read.

        A local variable of what the program calls goes when that returns.
        """
        if value.name:
            return value.name
        name, end = value.local or "made", self.around[value.uses[-1].place]
        while name in self.code.co_varnames or self.borrowed.get(name, -1) > step.place:
            name += "_"
        self.borrowed[name] = end
        return name

    def _check(self, step: Step) -> None:
        """Refuse a program that reads a tensor whose name it has given to another one."""
        for value in (*step.args, *step.options.values()):
            if isinstance(value, Value) and self.held.get(value.text, value) is not value:
                raise ArchcostError(f"{value.text} is read after it is assigned again")


@lru_cache(maxsize=1024)
def body(
    op: Op, shapes: tuple[Shape, ...], names: tuple[str, ...], flat: bool = False
) -> list[str]:
    """Return the lines of the function of an op, for training and for evaluation.

    Args:
        op: the operator.
        shapes: of its inputs.
        names: of its inputs.
        flat: whether to give no names in between, so that it is one line if it can be.
    """
    evaluation, training = (Recorder(op, shapes, names, mode).body(flat) for mode in (False, True))
    if evaluation == training:
        return training
    return ["if not self.training:", *(f"    {line}" for line in evaluation), *training]


def expression(op: Op, shapes: tuple[Shape, ...], names: tuple[str, ...]) -> str:
    """Return an op of variables of these names as one expression, empty where it is none."""
    cost = op.cost(*shapes)
    lines = body(op, shapes, names, flat=True)
    alone = len(lines) == 1 and not cost.params and not cost.buffers
    return lines[0].removeprefix("return ") if alone else ""


def read_by_module(op: Op, shapes: tuple[Shape, ...], names: tuple[str, ...]) -> str:
    """Return what the last primitive of a program reads first, as an expression."""
    recorder = Recorder(op, shapes, names, False)
    recorder.body(flat=True)
    return str(recorder.steps[-1].args[0])


@lru_cache(maxsize=1024)
def module_source(op: Op, shapes: tuple[Shape, ...], name: str) -> tuple[str, str]:
    """Return the source of a class whose modules run an op, and the arguments that make one."""
    cost = op.cost(*shapes)
    sizes = {**cost.params, **cost.buffers}
    rates = {"p": op.p} if hasattr(op, "p") else {}  # may be set anew, as that of nn.Dropout
    inputs = op.inputs
    if inputs == ("*",):
        inputs = tuple(f"x{i}" if i else "x" for i in range(len(shapes)))
    lines = [f'"""{(type(op).__doc__ or op.name).splitlines()[0]}"""', ""]
    if sizes or rates:
        lines += [
            f"def __init__(self, {', '.join((*rates, *sizes))}):",
            "    super().__init__()",
            *(f"    self.{key} = {key}" for key in rates),
            *(f"    self.{key} = nn.Parameter({key})" for key in cost.params),
            *(f'    self.register_buffer("{key}", {key})' for key in cost.buffers),
            "",
        ]
    lines.append(f"def forward(self, {', '.join(inputs)}):")
    lines += [f"    {line}" for line in body(op, shapes, inputs)]
    text = f"class {name}(nn.Module):\n" + textwrap.indent("\n".join(lines), "    ") + "\n"
    values = [*map(str, rates.values())]
    values += [
        op.initial.get(key, "torch.zeros({})").format(", ".join(map(str, shape)), op=op)
        for key, shape in sizes.items()
    ]
    return text, ", ".join(values)


def import_torchvision() -> Any:
    """Return the module torchvision, or say in one line how to get it."""
    try:
        return import_package(TORCHVISION)
    except ImportError:
        raise ArchcostError("this needs torchvision: pip install torchvision") from None


@lru_cache(maxsize=1024)
def _defined(torch: Any, text: str, name: str) -> Any:
    namespace: dict[str, Any] = {"torch": torch, "nn": torch.nn, "__name__": __name__}
    if TORCHVISION in text:
        namespace[TORCHVISION] = import_torchvision()
    exec(compile(text, f"<{name}>", "exec"), namespace)
    return namespace


def torch_module(torch: Any, op: Op, shapes: Sequence[Shape]) -> Any:
    """Return the module of ``torch.nn`` that an op is, None for one that is a program.

    Raises:
        ArchcostError: PyTorch has none, as of pooling over four spatial dimensions.
    """
    try:
        return op.build(torch, *shapes)
    except AttributeError as error:
        raise ArchcostError(
            f"{op.name} on {show(shapes[0])}: PyTorch has no {error.name}"
        ) from None


def module_of(torch: Any, op: Op, shapes: Sequence[Shape]) -> Any:
    """Return an op as an ``nn.Module``: the one of ``torch.nn`` that it is, or its program."""
    made = torch_module(torch, op, shapes)
    if made is not None:
        return made
    name = type(op).__name__
    text, arguments = module_source(op, tuple(shapes), name)
    return eval(f"{name}({arguments})", _defined(torch, text, name))
