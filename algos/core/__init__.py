"""The interface of algorithms.

algorithm   `Algorithm`: the base class
checks      checks of fields that algorithms share
preset      `Preset`: a named setting of an algorithm's fields
presets     the tables of presets, and the classes that their rows stand for
types       `Rollouts`, `Credit`, `Batch`, `Totals`, `PolicyOutputs`, `Schedule`: the data that pass through one
policy      `Policy`, `ValueHead`: the protocol of the model that is trained
registry    `names`, `variant_names`, `load`, `import_file`: algorithms by name or by FILE.py
paradigm    `Row`: an algorithm's row in DeepSeekMath's unified paradigm

Packages outside `algos` import these names from `algos`.
"""
