"""What database queries do, read by parsers. Runs none."""
