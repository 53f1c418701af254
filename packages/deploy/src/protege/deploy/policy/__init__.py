"""An exported policy on ONNX Runtime, and policy.json."""
