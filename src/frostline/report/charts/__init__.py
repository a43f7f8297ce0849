"""The charts. Each module draws one kind, through `style.draw`; matplotlib is loaded by the first call."""
