"""What can go wrong with a classifier.

ModelError
├── BundleError     a bundle is missing, damaged, of a newer format, or does not reproduce its probes
├── DeviceError     the wanted device, or the library that drives it, is not there
├── EngineError     an engine's answer has another shape than its batch and the labels
└── TextError       a text can't be classified as asked; knows its index in the caller's list
"""


class ModelError(Exception):
    """Base of every error that this package raises on purpose."""


class BundleError(ModelError):
    """A bundle directory can't be used; the message names the file, what was found and what was expected."""


class DeviceError(ModelError):
    """No engine can run on the wanted device."""


class EngineError(ModelError):
    """An engine gave something else than a row for each row and a logit for each label."""


class TextError(ModelError):
    """Text number `index` of the caller's list can't be classified as asked."""

    def __init__(self, message: str, *, index: int) -> None:
        super().__init__(message)
        self.index = index
