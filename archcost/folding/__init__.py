"""A network as a spec that reads like a person's: the way back from layers to the language.

:mod:`.tree` gathers layers in groups by their paths. :mod:`.flow` makes items of a group: chains,
sums of branches, and labels where a tensor is read twice. :mod:`.unify` finds what items of equal
form differ in. :mod:`.blocks` makes blocks with parameters of these, and repeats of equal calls.
:mod:`.writer` writes the items. :mod:`.spec` compares the spec with the network, layer by layer.
"""
