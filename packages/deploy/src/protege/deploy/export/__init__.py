"""From a checkpoint to ONNX. Needs torch and core, as nothing else in deploy does."""
