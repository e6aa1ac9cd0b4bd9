"""What runs the generator: PyTorch anywhere, OpenVINO where the device is a CPU."""
