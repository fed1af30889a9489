"""What one echo, one idle connection and one busy loop cost: us beside C and beside the asyncio ways.

Each program explains itself with `--help`: `python -m moorings.benchmarks.echo`, `.memory`, `.fairness`, `.syscalls`.
They use the loopback interface only.
"""
