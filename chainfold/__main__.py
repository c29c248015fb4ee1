"""`python -m chainfold` is the command `chainfold`."""

from projections.service.cli import main

if __name__ == "__main__":
    main()
