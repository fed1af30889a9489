"""Names: host names, endpoint pairs, service names and SRV, the resolver, connection racing (RFC 8305)."""
