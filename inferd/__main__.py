"""`python -m inferd` is the `inferd` command. Nothing else happens here."""

from inferd.cli import main

if __name__ == "__main__":
    main()
