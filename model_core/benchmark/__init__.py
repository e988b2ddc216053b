"""How fast this machine is with this program, against plain torchvision in the same run; synthetic CT only.

Every number is defined in docs/performance.md. Ratios are medians over rounds in which each way has its turn,
so that a machine that slows down slows all of them. Times of a fresh process are taken in fresh processes,
which come through here: nothing is imported, torch least of all.
"""
