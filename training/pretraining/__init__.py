"""Language models of unlabelled text, and the encoder that a classifier starts from."""
