"""The engine: descriptors, the loop, kernel features. The seam is `interface.py`."""
