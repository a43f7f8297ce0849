"""Tasks: data in, metric out. One file each."""
