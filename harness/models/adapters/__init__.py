"""Adapters on a frozen model (LoRA, DoRA), by the library peft: one base for policy, reference and value model.

adapter_set   `AdapterSet`: the adapters of one model, which of them acts, their weights
attach        `attach`: an adapter of given fields on a model
folders       PEFT folders: written, read, merged into their base
quantized     a base in 4 bits, on CUDA
merging       `merge_folder`: `harness merge`
"""
