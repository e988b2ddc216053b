"""Damaged files for everything that reads them; ``python -m tests.fuzz --minutes 10`` runs for long."""
