"""Plain data, errors and files that every room shares; numpy and the standard library only."""
