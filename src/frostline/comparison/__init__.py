"""Runs methods side by side: every cell in a fresh process, every figure kept with what it was made of.

config.py     what the user writes
runs.py       the runs it asks for, as values, in the order in which they are made
records.py    one JSON file a run; the folder
processes.py  one run in a process of its own
probe.py      that process, where it measures memory or time instead of training
pairing.py    two such processes in turn, for the ratio of step times
compare.py    all of it: trials, cells, probes
"""
