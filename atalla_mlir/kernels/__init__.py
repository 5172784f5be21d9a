"""How an operation is computed on rows and tiles: reads linalg into stages, builds `atalla` operations from them."""
