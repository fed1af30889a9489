"""Certificates and what their validation can find."""
