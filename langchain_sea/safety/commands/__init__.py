"""What commands of a shell and programs do, read by parsers. Runs none."""
