"""What a classifier is: text -> token ids -> scores.

This package knows no HTTP and no training.
It needs numpy, tokenizers and pydantic; torch and onnxruntime are imported only by the engine that uses them.
Start with `bundle.load`, which turns a bundle directory into a `classifier.Classifier`.
"""
