"""`python -m polyvae`, and so `torchrun -m polyvae`."""

from polyvae.cli import main

if __name__ == "__main__":  # worker processes of a sweep import this module
    main()
