"""Options that commands share: which model, how it is run and counted, how the result is written.

Each bundle hands its options to the command as one argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, NoReturn

import click

from archcost.cli import choices
from archcost.cli.choices import HELP, Decorator, Names, columns_of, names_option
from archcost.cli.output import Output, format_of
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.table import ENDINGS, Column, Table


def bundle(name: str, *options: Decorator, make: Callable[..., Any] = dict) -> Decorator:
    """Return a decorator that adds options, and hands over ``make`` of their values as ``name``."""

    def apply(function: Any) -> Any:
        @wraps(function)
        def gathered(*args: Any, **kwargs: Any) -> Any:
            own = {key: kwargs.pop(key) for key in keys}
            return function(*args, **{name: make(**own)}, **kwargs)

        params = gathered.__dict__.setdefault("__click_params__", [])
        before = len(params)
        for option in reversed(options):
            option(gathered)
        keys = [param.name for param in params[before:]]
        return gathered

    return apply


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """Return the catalog's names that begin as typed, for shell completion; files too."""
    from click.shell_completion import CompletionItem

    from archcost.spec.catalog import catalog

    names = [CompletionItem(name) for name in catalog() if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type="file")]


def model_argument(many: bool = False, required: bool = True) -> Decorator:
    """The MODEL argument: a catalog name, a .yaml or .txt file, or - for standard input."""
    return click.argument(
        "models" if many else "model",
        metavar="MODEL..." if many else "MODEL",
        nargs=-1 if many else 1,
        required=required,
        shell_complete=complete_model,
    )


all_option = click.option("--all", "everything", is_flag=True, help="All models of the catalog.")
depth_option = click.option("--depth", type=int, help="Show this many levels of groups.")


def gpu_option(help: str = "The device", **more: Any) -> Decorator:
    """The --gpu option: a device that is known."""
    return names_option("--gpu", names=choices.GPUS, help=help, **more)


selection_options = bundle(
    "chosen",
    model_argument(many=True, required=False),
    all_option,
    names_option("--family", "families", names=choices.FAMILIES, multiple=True,
                 help="All models of a family"),
)  # fmt: skip
"""Hands over ``chosen``, for :func:`archcost.report.comparison.select`."""


def _network(
    input: Sequence[str],
    knobs: Sequence[str],
    aux: bool,
    no_bias: bool,
    inputs: str | None,
    partial: bool,
    run: bool,
) -> dict[str, Any]:
    """Return how a network is expanded, as :func:`archcost.load` takes it."""
    if HELP in knobs:
        given = click.get_current_context().params
        show_knobs(
            given.get("model") or given.get("new") or next(iter(given.get("models", ())), "")
        )
    own = {"input": _inputs(input), "knobs": knob_settings(knobs), "aux": aux, "bias": not no_bias}
    code = {"inputs": inputs, "partial": partial, "run": run}
    return own | {name: value for name, value in code.items() if value}


def _inputs(texts: Sequence[str]) -> str | dict[str, str] | None:
    """Return the shape that ``--input`` gives, or those of inputs by their names."""
    if not any("=" in text for text in texts):
        if len(texts) > 1:
            raise ArchcostError("--input takes one shape, or NAME=SHAPE for each of several inputs")
        return texts[0] if texts else None
    return named_values("--input", "NAME=SHAPE", texts)


def show_knobs(model: str) -> NoReturn:
    """Print the knobs of a model with what the spec or the variant sets them to, and exit."""
    from archcost.spec.catalog import find_model

    if not model:
        raise ArchcostError("--set help lists the knobs of a MODEL; name one")
    document, variant = find_model(model)
    own, _ = document.variants.get(variant, ({}, {}))
    columns = (Column("knob", "knob", essential=True), Column("value", "value", essential=True))
    rows = tuple((key, _plain(value)) for key, value in {**document.knobs, **own}.items())
    Output().show(Table(columns, rows, notes=() if rows else (f"{document.name} has no knobs",)))
    raise click.exceptions.Exit(0)


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def knob_settings(knobs: Sequence[str]) -> dict[str, str]:
    """Return the values that ``--set KNOB=VALUE`` gives, as text."""
    return named_values("--set", "KNOB=VALUE", knobs)


def named_values(option: str, form: str, texts: Sequence[str]) -> dict[str, str]:
    """Return the values of an option that names each, as text."""
    settings: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ArchcostError(f"{option} takes {form}; got {text!r}")
        if key.strip() in settings:
            raise ArchcostError(f"{option} {key.strip()} is given twice")
        settings[key.strip()] = value.strip()
    return settings


network_options = bundle(
    "options",
    click.option(
        "--input",
        metavar="SHAPE",
        multiple=True,
        help="Input shape, e.g. 3x384x384, instead of the spec's. For several inputs: NAME=SHAPE.",
    ),
    click.option(
        "--set",
        "--arg",
        "knobs",
        metavar="KNOB=VALUE",
        multiple=True,
        help="Set a knob of the spec, or an argument of code. `--set help` lists MODEL's knobs.",
    ),
    click.option(
        "--inputs",
        metavar="FILE.py:MAKE",
        help="A function that makes the arguments of a module for a batch.",
    ),
    click.option(
        "--partial",
        is_flag=True,
        help="Count what has a formula in a module; names say so.",
    ),
    click.option(
        "--run",
        is_flag=True,
        help="Run a module on random data, which may decide what it does; names say so.",
    ),
    click.option("--aux", is_flag=True, help="Include side outputs (auxiliary classifiers)."),
    click.option("--no-bias", is_flag=True, help="Drop the biases, as in the lectures' VGG table."),
    make=_network,
)
"""Hands over ``options``, for :func:`load_network`."""


def _setting(
    gpu: str | None = None, foreach: bool = False, fused: bool = False, for_loop: bool = False,
    **own: Any,
) -> Any:  # fmt: skip
    """Return the ``Setting`` that options ask for; without --device, the GPU says what it is."""
    from archcost.setting import Setting

    kernels = {"foreach": foreach, "fused": fused, "for-loop": for_loop}
    asked = [name for name, given in kernels.items() if given]
    if len(asked) > 1:
        raise ArchcostError(
            f"choose one of --foreach, --fused and --for-loop; got --{' and --'.join(asked)}"
        )
    own["kernel"] = asked[0] if asked else None
    if gpu is None:
        return Setting(**own)
    from archcost.hardware import find_device

    device = find_device(gpu)
    return Setting(**own, gpu=device) if "device" in own else Setting(**own).on(device)


FLAGS: Mapping[str, tuple[Decorator, ...]] = {
    "batch": (
        click.option("--batch", type=int, default=1, show_default=True, help="Samples per pass."),
    ),
    "dtype": (names_option("--dtype", names=choices.DTYPES, default="float32", show_default=True,
                           help="Data type of the tensors"),),
    "convention": (names_option("--convention", names=choices.CONVENTIONS, default="flops",
                                show_default=True, help="How operations are counted"),),
    "activations": (names_option("--activations", names=choices.ACTIVATIONS, default="lecture",
                                 show_default=True, help="Which outputs count as activations"),),
    "gpu": (gpu_option(),),
    "device": (names_option("--device", names=choices.DEVICES, default="cuda", show_default=True,
                            help="The kind of device that it runs on"),),
    "optimizer": (names_option("--optimizer", names=choices.OPTIMIZERS, default="sgd-momentum",
                               show_default=True, help="The optimizer of the training step"),),
    "kernel": (
        click.option("--foreach", is_flag=True, help="The optimizer updates lists of parameters."),
        click.option("--fused", is_flag=True, help="The optimizer updates in one fused kernel."),
        click.option("--for-loop", is_flag=True,
                     help="The optimizer updates one parameter at a time."),
    ),
    "weight_decay": (
        click.option("--weight-decay", is_flag=True, help="The optimizer uses weight decay."),
    ),
    "freeze": (
        click.option("--freeze", multiple=True, metavar="PATTERN",
                     help="Layers that are not trained, e.g. 'stem*'."),
    ),
    "amp": (names_option("--amp", names=choices.AMP,
                         help="Run forward under torch.autocast with this type"),),
    "checkpoint": (
        click.option("--checkpoint", multiple=True, metavar="GROUP",
                     help="Groups that backward recomputes (activation checkpointing)."),
    ),
    "channels_last": (
        click.option("--channels-last", is_flag=True,
                     help="Use torch.channels_last for the network and the input."),
    ),
}  # fmt: skip
"""The options of the fields of a :class:`~archcost.setting.Setting`."""


def setting_options(*names: str) -> Decorator:
    """Return the options of fields of a ``Setting``; they hand it over as ``setting``."""
    return bundle("setting", *(flag for name in names for flag in FLAGS[name]), make=_setting)


def given_options(ctx: click.Context, names: Iterable[str]) -> dict[str, Any]:
    """Return what was said of the options of these names; not what they are by default."""
    default = click.core.ParameterSource.DEFAULT
    return {
        name: ctx.params[name] for name in names
        if name in ctx.params and ctx.get_parameter_source(name) is not default
    }  # fmt: skip


def file_option(help: str = "Write the output to this file.", **more: Any) -> Decorator:
    """The --output option of every command that writes."""
    return click.option(
        "--output", "-o", type=click.Path(dir_okay=False), metavar="FILE", help=help, **more
    )


def text_file_option(*endings: str) -> Decorator:
    """The --output option of a command that writes one format, known by these endings."""

    def checked(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        format_of(None, value, dict.fromkeys(endings, ""))
        return value

    return file_option(f"Write the output to this {endings[0]} file.", callback=checked)


def output_options(
    *places: str, formats: Names = choices.TABLE_FORMATS, endings: Mapping[str, str] = ENDINGS,
    columns: Names | None = None,
) -> Decorator:  # fmt: skip
    """Return the options of a command that prints tables; their columns are at ``module:NAME``.

    They hand over ``out``, an :class:`Output`. ``formats`` and the ``endings`` of files are those
    of all tables, or with the command's own; so are ``columns`` that are known at no place.
    """
    columns = columns or Names("column", lambda: columns_of(places), strict=True, many=True)

    def make(format: str | None, output: str | None, columns: tuple[str, ...]) -> Output:
        return Output(format_of(format, output, endings), output, columns)

    return bundle(
        "out",
        names_option("--columns", names=columns, help="Columns to show, in this order"),
        names_option(
            "--format", names=formats, metavar="NAME",
            help="Format of the output. The default is a table, or the format of the file's ending",
        ),
        file_option("Write the output to this file. Its ending selects the format."),
        make=make,
    )  # fmt: skip


skip_option = click.option(
    "--skip-others", is_flag=True,
    help="Skip YAML files that are not specs. A spec has `layers`, and `input` or `family`.",
)  # fmt: skip


def load_network(model: str, **options: Any) -> Network:
    """Return the network that the shared options ask for."""
    from archcost.spec.catalog import load

    return load(model, **options)
