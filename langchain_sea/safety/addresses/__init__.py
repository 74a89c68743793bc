"""Addresses of a network and paths of files, in any notation. Opens none of them."""
