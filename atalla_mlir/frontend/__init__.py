"""From a PyTorch model to linalg on tensors: capture, partition, import."""
