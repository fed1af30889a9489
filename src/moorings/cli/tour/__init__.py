"""The parts of the demonstration; each shows one thing, and returns what it found."""
