"""Parts of the loop that stand beside it.

protocol           `TrainingLoop`: what a run drives
prompt_knowledge   what is known of a round's prompts: metadata, embeddings, probes; what that costs
probes             completions that tell what a prompt is like, and are not trained on
processes          what several processes cannot share
redrawing          dynamic sampling: groups drawn for those that have nothing to teach
"""
