"""Training: packed data, augmentation, loops, checkpoints, recipes."""
