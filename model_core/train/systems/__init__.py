"""The three systems of the papers, trained as published: what moves, which loss, in which steps.

`presets` holds the settings of each paper, `moving` the parameters that each mode updates,
`segmentation`, `classifier` and `single_shot` one system each, `trainer` the loop that serves them all.
"""
