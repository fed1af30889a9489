"""What `moorings doctor` looks at: one module for each kind of thing, and a table of all checks."""
