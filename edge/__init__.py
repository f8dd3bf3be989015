"""edge: put a TensorFlow Lite model on an ARM board and measure it there."""

__version__ = "0.1.0"
