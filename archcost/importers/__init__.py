"""Networks that are code or ONNX graphs, as layers.

:mod:`.source` builds the PyTorch module that a name stands for, :mod:`.trace` notes the calls of
its forward pass, :mod:`.lower` makes layers of them: ops of specs where :mod:`.modules` says one,
and else :mod:`.calls`, whose programs stand in :mod:`.functions`.

:mod:`.onnx_network` reads an ONNX file: :mod:`.onnx_graph` walks its nodes, with shapes by ONNX's
own rules, and prices each as calls of PyTorch's functions, of which the same layers are made. What
an op is as calls stands in :mod:`.onnx_nodes`, :mod:`.onnx_products` and :mod:`.onnx_moves`.
"""
