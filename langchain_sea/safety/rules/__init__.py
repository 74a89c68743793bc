"""What is dangerous in an argument whatever was asked."""
