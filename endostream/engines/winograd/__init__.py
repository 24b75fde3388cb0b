"""Mask networks of 3x3 convolutions on the processor, by our own kernels.

Owns the kernels (C++, `kernels/`), how they are found and called, and the UNet made of them. Must not know
lanes, preprocessing or OpenVINO.
"""

from endostream.engines.winograd.unet import beats_int8, open_runner, serves

__all__ = ["beats_int8", "open_runner", "serves"]
