"""What this machine's network looks like: adapters, local addresses, network information."""
