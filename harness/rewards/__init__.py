"""From completions to rewards.

base                    `RewardSource`, `SamplingContext`, `score`: the interface, and the rule reward
factory                 `reward_source_of`: from `--reward` to a reward source
user_function           a reward of the user's own: copies, finite numbers, a time limit, failures that are counted
call_forms              how such a function is called: a completion or a round, columns of the data, async
label_noise             the rule reward with flipped labels
shaping                 additional terms: format, length, language, steps
process                 rewards per step by the task's own checker
learned                 a reward model that is trained during the run
reward_model            the reward model
reward_model_training   its training, and its quality on held-out problems
step_labels             its training data
step_alignment          steps of a solution, from characters to tokens
"""
