"""Engines that are built ahead, for one kind of GPU or for several: TensorRT and TensorRT for RTX."""
