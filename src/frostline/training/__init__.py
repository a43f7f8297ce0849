"""Training runs: a stock Trainer, our callbacks, checkpoints that are whole or not there, a folder with the record."""
