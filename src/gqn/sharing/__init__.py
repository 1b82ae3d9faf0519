"""Sharing models.

`export` writes a folder or uploads it to the hub, `card` writes its model card, `onnx` exports a sampler that needs no
PyTorch.
"""
