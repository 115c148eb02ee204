"""``python -m lrbackends``."""

from lrbackends.cli import main

if __name__ == "__main__":
    main(prog_name="lrbackends")
