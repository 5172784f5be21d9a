"""The dialects: `atalla` (tiles, kernels) and `ax01` (instructions)."""
