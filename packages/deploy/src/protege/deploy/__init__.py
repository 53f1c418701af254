"""Export to ONNX, and a real-time loop that imports no torch."""

__version__ = "0.2.0"
