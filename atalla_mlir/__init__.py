"""atalla-mlir: PyTorch models on the Atalla Ax01."""
