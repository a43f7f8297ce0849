"""Tasks: data in, metric out. `text` reads, `metrics` scores, `kinds` says what is asked for: a class or a number."""
