"""Definitions of operations, which need no tool."""

from archcost.conventions.rule import FLOP, MAC, Convention, register

register(
    __name__,
    Convention(
        "macs", "multiply-accumulates of conv, linear and matmul, without bias; most papers' FLOPs",
        {"mac": 1}, MAC, source="He et al. 2015, table 1: FLOPs (multiply-adds)",
    ),
    Convention(
        "flops", "two operations per multiply-accumulate", {"mac": 2}, FLOP,
        source="a multiplication and an addition",
    ),
)  # fmt: skip
