"""What happens to a file between bytes and blocks. Everything but `detection` runs in the child process."""
