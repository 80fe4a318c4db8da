"""Problems: generated, or read from files and the hub.

arithmetic_chains   chains of + and -: generation, solutions, checks of their steps
stories             word problems of several steps: the same
story_templates     the names, things and templates of stories
unique              distinct problems of a stream, and sorting problems
identity            which questions are the same problem: their ids
lm_eval_config      what a training task reads of an lm-eval task's YAML
files               rows of files and folders
sources             the same, or of the hub: what `--train-file` may name
loading             problems of rows
prompts             what the model is asked: instructions, conversations, solved examples
splits              which problem is for training, selection, testing
equations           the equations of a written solution
"""
