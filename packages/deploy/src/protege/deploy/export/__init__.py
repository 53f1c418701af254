"""Exports a checkpoint to ONNX. Only this part of deploy needs torch and core."""
