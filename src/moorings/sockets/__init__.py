"""The socket classes of Windows.Networking.Sockets."""
