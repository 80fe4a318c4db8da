"""What a model's files must hold, so that the model that runs is the one that was named.

weights   `check_weights`: no tensor is made up, and none is passed over without a word
"""
