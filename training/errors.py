"""What can go wrong while a classifier is made.

TrainingError           one clear message; nothing was written
├── ConfigError         a setting is unknown, or its value is out of range
├── Diverged            a loss is no number any more
└── DataError           a file, line, column, text or label can't be used
    └── NoLanguage      too few words come again for a language model
"""


class TrainingError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(TrainingError):
    """A recipe or a setting can't be used; the message names the setting, the value and what is allowed."""


class Diverged(TrainingError):
    """A loss is no number any more; the message names the settings that may help."""


class DataError(TrainingError):
    """The data can't be used; the message names the file, and the line where there is one."""


class NoLanguage(DataError):
    """The text has too few words that come again for a language model; a classifier can do without one."""
