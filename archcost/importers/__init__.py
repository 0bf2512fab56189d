"""Networks that are code or ONNX graphs, as layers.

:mod:`.source` builds the PyTorch module that a name means. :mod:`.trace` records the calls of its
forward pass. :mod:`.lower` makes layers of them: ops of specs if :mod:`.modules` has one, otherwise
:mod:`.calls`, whose programs are in :mod:`.functions`.

:mod:`.onnx_network` reads an ONNX file: :mod:`.onnx_graph` walks its nodes, with shapes by ONNX's
own rules, and writes each as calls of PyTorch's functions. The same layers are made of these calls.
:mod:`.onnx_nodes`, :mod:`.onnx_products` and :mod:`.onnx_moves` have the calls of each op.
"""
