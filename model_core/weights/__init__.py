"""What a weight file is: its card, its safe loading, the shipped ones."""
