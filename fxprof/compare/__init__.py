"""Two profiles compared: what belongs together, what differs, and whether it grew by more than it may.

Pure functions on frozen records.
"""
