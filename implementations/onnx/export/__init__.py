"""From torch modules to a package of ONNX graphs."""
