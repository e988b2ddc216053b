"""CTMaskNet's core: reads CT, runs the networks, explains and exports. Knows no GUI toolkit."""

__version__ = "0.1.0"

DISCLAIMER = "Research software, not a medical device."
