"""From a target (a name, a directory, a file or a Hub id) to a configuration; and the options of an analysis."""

from fxprof.source.checkpoint import CheckpointFile
from fxprof.source.config import ComponentConfig, PipelineConfig, SingleComponent
from fxprof.source.directory import read_directory
from fxprof.source.targets import Target, find_target, resolve
from fxprof.source.zoo import ZooEntry, load_zoo, models, names, zoo_table

__all__ = [
    "CheckpointFile",
    "ComponentConfig",
    "PipelineConfig",
    "SingleComponent",
    "Target",
    "ZooEntry",
    "find_target",
    "load_zoo",
    "models",
    "names",
    "read_directory",
    "resolve",
    "zoo_table",
]
