"""A pack's networks on an NVIDIA GPU: half precision, CUDA graphs, batches across streams.

Owns everything of the engines that calls CUDA. Importing this package alone imports no torch; its modules
do. Everything but the calls in `device` also runs on the processor, where the tests run it.
"""
