"""PolyMNIST and its variants: digits on crops of pictures."""
