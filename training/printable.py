"""A stranger's words where a person reads them: without what a terminal obeys, or a page can't hold."""

import re

# What HTML can't hold, what would break UTF-8, and what a terminal obeys: C0 and C1 controls but tab and line feed,
# surrogates, non-characters.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# What ends a line, or moves on in it, somewhere: tab, line feed, Unicode's separators.
BREAKS = re.compile("[\t\n\u2028\u2029]+")


def printable(text: str) -> str:
    """The same, with a replacement character for each that is none to be seen; lines stay lines."""
    return UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The same, on a single line."""
    return BREAKS.sub(" ", printable(text))


def utf_8(name: str) -> str:
    """A file's name, or another argument of a command, as UTF-8 can hold it: bytes that aren't UTF-8 as in caf\\xe9."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
