"""`python -m harness`, and so `accelerate launch -m harness` and `torchrun -m harness`."""

from runpy import run_module

if __name__ == "__main__":
    run_module("harness.cli", run_name="__main__")
