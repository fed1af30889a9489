"""What `moorings cert show` knows and shows."""
