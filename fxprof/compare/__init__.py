"""The comparison of two profiles: matching parts, differences, and limits of growth.

Pure functions on frozen records.
"""
