"""PyTorch's eager mode on the device: tensors in DRAM, operations as compiled kernels, the rest on the CPU."""
