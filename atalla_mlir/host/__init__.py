"""What needs PyTorch at run time: programs on torch tensors, host operations, verification."""
