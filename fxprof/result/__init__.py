"""The result of profiling: frozen records, their file format, and views."""

from fxprof.result.profile import Component, Profile
from fxprof.result.records import Call, Geometry, Input, ModuleRecord, OpRow, Total
from fxprof.result.tree import Node

__all__ = ["Call", "Component", "Geometry", "Input", "ModuleRecord", "Node", "OpRow", "Profile", "Total"]
