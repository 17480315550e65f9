"""Post-training quantization on ONNX: calibration, schemes, candidates, and the choice among them by measurement."""
