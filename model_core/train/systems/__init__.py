"""The three systems of the papers, trained as published: what moves, which loss, in which steps.

`presets` holds the settings of each paper, `trainable` the parameters that each mode updates,
`segmentation`, `classifier` and `single_shot` one system each, for the loop of `model_core.train.loop`.
"""
