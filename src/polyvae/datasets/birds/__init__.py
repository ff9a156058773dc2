"""Birds with captions: photographs (CUB) and drawn ones."""
