"""Every bound that protects a user from a file, a server or a neighbour, in one table.

`docs/security.md` shows the same table; `tests/test_security.py` holds the two equal. Names end in their unit: `_SECONDS`,
`_BYTES`, or nothing for a count.
"""

from __future__ import annotations

GRAPH_BYTES = 128 * 2**20
"""All JSON texts of a `.pt2` file, and the manifest of a captured run."""

GRAPH_VALUES = 6_000_000
"""Values in all JSON texts of a `.pt2` file or of a captured run, each of some 60 bytes; an operator has about a hundred."""

GRAPH_ENTRIES = 200_000
"""Entries of a `.pt2` file, which is a zip archive."""

GRAPH_LIST_BYTES = 32 * 2**20
"""The directory at the end of a `.pt2` file."""

GRAPH_GROWTH = 500
"""Factor by which a text may be larger than its entry in an archive."""

GRAPH_OPERATORS = 120_000
"""Operators of a `.pt2` file or of a captured run, with those of all bodies; the largest real graphs have some 30,000."""

GRAPH_MODULES = 100_000
"""Modules of a graph, with the modules that contain them."""

MODULE_LEVELS = 100
"""Levels of modules within modules, in any file."""

MODULE_PATH = 1_000
"""Characters of a module's path."""

NAME = 4_000
"""Characters of a name in any file: of a class, a component, an operator, a source line."""

TENSOR_SIZES = 64
"""Sizes of one tensor in a graph."""

NESTING = 20
"""Levels of bodies within bodies, and of lists within lists, in a graph."""

STACK = 100_000
"""Characters of the module stack of one operator in a graph."""

STACK_MODULES = 200
"""Modules in the stack of one operator, with torch's scaffolding."""

STACKS = 20_000_000
"""Characters of all different module stacks of a `.pt2` file or of a captured run."""

STACKED_MODULES = 1_000_000
"""Modules in all different module stacks of such a file or run."""

SOURCE = 1_000_000
"""Characters of the stack trace of one operator in a graph."""

EXPRESSION = 20_000
"""Characters of one symbolic size, or of one guard."""

EXPRESSION_LEVELS = 200
"""Levels of expressions within expressions."""

EXPRESSIONS = 1_000_000
"""Characters of all different symbolic sizes of a `.pt2` file or of a captured run."""

GUARDS = 200_000
"""Characters of all guards and ranges of such a file or run."""

HINTS = 10_000
"""Expressions whose values in the example inputs are checked."""

NUMBER_BITS = 1_024
"""Bits of a number, or of either part of a fraction, in the computation of a size."""

CHAIN = 256
"""Matrices of one product whose cheapest order fxprof looks for."""

EINSUM_OPERANDS = 1_000
"""Operands of one einsum; torch allows at most 52 labels."""

FORMULA_STEPS = 40_000_000
"""Steps of all formulas for orders and equations together, for all graphs of a target."""

PROFILE_BYTES = 256 * 2**20
"""A saved profile."""

PROFILE_VALUES = 4_000_000
"""Values in a saved profile of up to 96 MB, each of some 60 bytes in memory; a larger profile may hold as many per byte."""

PROFILE_BYTES_PER_VALUE = 24
"""Least bytes that a value of a large profile takes in its file."""

PROFILE_MODULES = 100_000
"""Modules of a component in a saved profile, with the modules that contain them."""

MATCHED_MODULES = 2_000_000
"""Modules that a comparison looks at in all its rounds, or fifty times each; the others count as added and removed."""

TEXT_BYTES = 192 * 2**20
"""A file's text in memory: a character beyond Latin-1 makes each take two bytes, one beyond the first plane four."""

LONG_TEXT = 2**20
"""Characters of a note, a remark, or a value of the workload in a saved profile or a captured run."""

COMPONENTS = 1_000
"""Components of a pipeline, programs of a `.pt2` file."""

CALLS = 50_000
"""Distinct calls of one component, in a saved profile or a captured run."""

TOTAL_DIGITS = 36
"""Digits of a count or total in a saved profile."""

NUMBER_DIGITS = 4_300
"""Digits of an integer in any JSON text; Python converts so many in no time."""

CONFIG_BYTES = 64 * 2**20
"""A configuration, or any other JSON file of a model."""

DEVICE_BYTES = 2**20
"""A file that describes a device."""

JSON_VALUES = 2_800_000
"""Values in a vocabulary, a list of files, or the header of a file of weights; the largest vocabularies have half as many."""

CONFIG_VALUES = 200_000
"""Values in a configuration; the largest real ones, with tens of thousands of labels, have a third."""

CONFIG_NESTING = 100
"""Levels of objects and lists, in such a file."""

BUILT_MODULES = 100_000
"""Modules of one model that is built."""

BUILT_STEPS = 10_000
"""Steps that a scheduler was trained with; real ones have 1,000."""

BUILT_PARTS = 1_000_000
"""Heads, experts or steps that a configuration may ask for."""

BUILT_LAYERS = 200
"""Layers, blocks or stages in a row that a configuration may ask for; real models have at most 126."""

BUILT_SIZE = 2**31
"""Any size in the configuration of a model."""

BUILT_ELEMENTS = 2**26
"""Elements of one tensor that a constructor computes in order to read it."""

REHEARSED_ELEMENTS = 2**27
"""Elements of one tensor, such as the noise to begin with, that a pipeline of files makes in a rehearsal."""

PREPARED_ELEMENTS = 15_000_000
"""Elements of an array made in preparing an image or sound, unless its source has half as many; 2,560 x 1,920 pixels."""

PREPARED_STEPS = 2_050
"""Steps of a scale (frequencies, filters) for which a constructor makes tables; real scales have some 2,000."""

BUILT_SECONDS = 60
"""The construction of one model."""

PADDED_TOKENS = 2**20
"""Tokens that a tokenizer may pad a text to."""

VOCABULARY = 1_200_000
"""Entries of a vocabulary; the largest real ones have 900,000."""

TOKENIZED = 10_000_000
"""Steps to find the tokens for one character of a text, after a normalizer has lengthened it."""

PROCESSED_TOKENS = 20_000
"""Tokens that a tokenizer's post-processor makes of a text of a thousand tokens; real ones add a few."""

NORMALIZER_GROWTH = 10_000
"""Factor by which a normalizer, with the pre-tokenizer after it, may lengthen a text; likewise for a decoder."""

ADDED_TOKENS = 20_000
"""Tokens that one file of a tokenizer adds to its vocabulary; real models add at most some 6,400."""

NORMALIZED_TOKENS = 20_000_000
"""Characters of the added tokens that a file has normalized, times the characters that the normalizer may make of each."""

TEMPLATE = 100_000
"""Characters of a chat template; the longest real ones have a third as many."""

TEMPLATE_NODES = 20_000
"""Names, values, operators and statements of a chat template, which is compiled before it is rendered."""

TEMPLATE_STEPS = 1_000_000
"""Repetitions, calls and characters that one rendering of a chat template may take."""

TEMPLATE_VALUE = 200_000
"""Characters, items and digits of one value in a chat template."""

HEADER_BYTES = 64 * 2**20
"""The header of a `.safetensors` or `.gguf` file."""

HEADER_TENSORS = 100_000
"""Tensors, or values, that such a header names."""

HEADER_VALUES = 1_200_000
"""Texts and lists in the header of a `.gguf` file; the largest vocabularies, with their merges, have some 800,000."""

STAND_IN_ELEMENTS = 2**28
"""Elements of an image, video or tensor that an option or an argument names by its size."""

ARGUMENT_NESTING = 100
"""Levels of objects and lists, in an argument on the command line."""

HUB_SECONDS = 60
"""The whole fetch of a repository's configuration; the variable `FXPROF_HUB_SECONDS` changes it."""

HUB_FILES = 200
"""Files that fxprof fetches from one repository."""

HUB_FILE_BYTES = 64 * 2**20
"""One file from the Hub."""

HUB_TOTAL_BYTES = 256 * 2**20
"""All answers of the Hub in one fetch."""

HUB_AROUND_BYTES = 2 * 2**20
"""Overhead of all answers of the Hub in one fetch: headers, and lengths of pieces."""

HUB_PIECES = 20_000
"""Pieces of all these answers; each 512 bytes of them allow one more."""

HUB_LISTING_BYTES = 16 * 2**20
"""The Hub's list of the files of a repository."""

HUB_ERROR_BYTES = 64 * 2**10
"""The text of an answer that reports an error."""

HUB_REDIRECTS = 5
"""Redirects in a row for one file."""

CACHED_RESULTS = 10_000
"""Tensors and plain values that one cached call may return."""

CACHED_TENSOR_BYTES = 2**40
"""One tensor that a cached call returned; its zeros take memory only after a write."""

CACHED_NESTING = 50
"""Levels of containers in the result of a cached call."""


def profile_values(length: int) -> int:
    """The values that a profile of so many bytes may hold: an operator takes a few hundred bytes and has eight values."""
    return max(PROFILE_VALUES, length // PROFILE_BYTES_PER_VALUE)
