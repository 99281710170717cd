"""`python -m training [DATA] --out …`: the same as `lembra train`."""

import typer

from cli import train

typer.run(train)
