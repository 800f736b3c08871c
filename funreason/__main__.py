"""`python -m funreason`: the same as the command `funreason`."""

from funreason.cli import main

if __name__ == "__main__":
    main()
