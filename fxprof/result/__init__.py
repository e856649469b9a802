"""The result of profiling: frozen records, their file format, and views. Standard library only."""

from fxprof.result.profile import Call, Component, Geometry, Input, ModuleRecord, Node, OpRow, Profile, Total

__all__ = ["Call", "Component", "Geometry", "Input", "ModuleRecord", "Node", "OpRow", "Profile", "Total"]
