"""The engines that run the generator: PyTorch on any device, OpenVINO on CPUs."""
