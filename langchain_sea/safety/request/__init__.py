"""Whether the user asked for a call, and for as much of it."""
