"""Every bound that protects a user from a file, a server or a neighbour, in one table. Standard library only.

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
"""How many times larger a text of an archive may be than what it takes there."""

GRAPH_OPERATORS = 160_000
"""Operators of a `.pt2` file or of a captured run, those of all bodies included; the largest real graphs have some 30,000."""

GRAPH_MODULES = 100_000
"""Modules of a graph, with those around them."""

MODULE_LEVELS = 100
"""Modules in modules, in any file."""

MODULE_PATH = 1_000
"""Characters of a module's path."""

NAME = 4_000
"""Characters of a name in any file: of a class, a component, an operator, a source line."""

TENSOR_SIZES = 64
"""Sizes of one tensor in a graph."""

NESTING = 20
"""Bodies in bodies, and lists in lists, in a graph."""

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
"""Expressions in expressions."""

EXPRESSIONS = 1_000_000
"""Characters of all different symbolic sizes of a `.pt2` file or of a captured run."""

GUARDS = 200_000
"""Characters of all guards and ranges of such a file or run."""

HINTS = 10_000
"""Expressions whose values in the example inputs are checked."""

NUMBER_BITS = 1_024
"""Bits of a number, or of either part of a fraction, on the way to a size."""

CHAIN = 256
"""Matrices of one product whose cheapest order is looked for."""

EINSUM_OPERANDS = 1_000
"""Operands of one einsum; it has at most 52 labels, as torch has it."""

FORMULA_STEPS = 40_000_000
"""What the formulas of orders and equations may take together, for all graphs of a target."""

PROFILE_BYTES = 256 * 2**20
"""A saved profile."""

PROFILE_VALUES = 4_000_000
"""Values in a saved profile of up to 96 MB, each of some 60 bytes in memory; a larger one holds as many for each byte."""

PROFILE_BYTES_PER_VALUE = 24
"""Bytes that a value of a large profile takes in its file, at least."""

PROFILE_MODULES = 100_000
"""Modules of a component in a saved profile, with those around them."""

MATCHED_MODULES = 2_000_000
"""Modules that a comparison looks at in all its rounds, or fifty times each; the rest counts as added and removed."""

TEXT_BYTES = 192 * 2**20
"""A file's text in memory: with a character beyond Latin-1 each takes two bytes, beyond the first plane four."""

LONG_TEXT = 2**20
"""Characters of a note, a remark, or a value of the workload in a saved profile or a captured run."""

COMPONENTS = 1_000
"""Components of a pipeline, programs of a `.pt2` file."""

CALLS = 50_000
"""Distinct calls of one component, in a saved profile or a captured run."""

TOTAL_DIGITS = 36
"""Digits of a count or total in a saved profile."""

NUMBER_DIGITS = 4_300
"""Digits of an integer in any JSON text: those that Python turns into a number in no time."""

CONFIG_BYTES = 64 * 2**20
"""A configuration, or any other JSON file of a model."""

DEVICE_BYTES = 2**20
"""A file that describes a device."""

JSON_VALUES = 2_800_000
"""Values in a vocabulary, a list of files, or the header of a file of weights; the largest vocabularies have half as many."""

CONFIG_VALUES = 200_000
"""Values in a configuration; the largest real ones, with tens of thousands of labels, have a third."""

CONFIG_NESTING = 100
"""Objects and lists in each other, in such a file."""

BUILT_MODULES = 100_000
"""Modules that one model is built of."""

BUILT_STEPS = 10_000
"""Steps that a scheduler was trained with; real ones have 1,000."""

BUILT_PARTS = 1_000_000
"""Heads, experts or steps that a configuration may ask for."""

BUILT_LAYERS = 200
"""Layers, blocks or stages in a row that a configuration may ask for; the most of real models are 126."""

BUILT_SIZE = 2**31
"""Any size in the configuration of a model."""

BUILT_ELEMENTS = 2**26
"""Elements of one tensor that a constructor computes, because it reads from it."""

REHEARSED_ELEMENTS = 2**27
"""Elements of one tensor, such as the noise to begin with, that a pipeline of files makes in a rehearsal."""

PREPARED_ELEMENTS = 15_000_000
"""Elements of an array that is made to prepare an image or sound, unless it is made of half as many; 2,560 x 1,920 pixels."""

PREPARED_STEPS = 2_050
"""Steps of a scale, such as frequencies and filters, of which a constructor makes tables; real ones have some 2,000."""

BUILT_SECONDS = 60
"""The construction of one model."""

PADDED_TOKENS = 2**20
"""Tokens that a tokenizer may pad a text to."""

VOCABULARY = 1_200_000
"""Entries of a vocabulary; the largest of real models have 900,000."""

TOKENIZED = 10_000_000
"""Steps that finding the tokens takes for a character of a text, with what a normalizer makes of it."""

PROCESSED_TOKENS = 20_000
"""Tokens that a tokenizer's post-processor makes of a text of a thousand; real ones add a few."""

NORMALIZER_GROWTH = 10_000
"""How many times longer a normalizer, with the pre-tokenizer after it, may make a text; a decoder likewise."""

ADDED_TOKENS = 20_000
"""Tokens that one file of a tokenizer adds to its vocabulary; the most of real models are some 6,400."""

NORMALIZED_TOKENS = 20_000_000
"""Characters of the tokens that a file adds and has normalized, times what the normalizer may make of each."""

TEMPLATE = 100_000
"""Characters of a chat template; the longest of real models have a third as many."""

TEMPLATE_NODES = 20_000
"""Names, values, operators and statements of a chat template, which is compiled before it is rendered."""

TEMPLATE_STEPS = 1_000_000
"""Repetitions, calls and characters that one rendering of a chat template may take."""

TEMPLATE_VALUE = 200_000
"""Characters, items and digits of one value in a chat template."""

HEADER_BYTES = 64 * 2**20
"""The header of a `.safetensors` or `.gguf` file."""

HEADER_TENSORS = 200_000
"""Tensors, or values, that such a header names."""

HEADER_VALUES = 1_200_000
"""Texts and lists in the header of a `.gguf` file; the largest vocabularies, with their merges, have some 800,000."""

STAND_IN_ELEMENTS = 2**28
"""Elements of an image, video or tensor that an option or an argument names by its size."""

ARGUMENT_NESTING = 100
"""Objects and lists in each other, in an argument on the command line."""

HUB_SECONDS = 60
"""The whole fetch of a repository's configuration; the variable `FXPROF_HUB_SECONDS` sets another time."""

HUB_FILES = 200
"""Files that are fetched of one repository."""

HUB_FILE_BYTES = 64 * 2**20
"""One file from the Hub."""

HUB_TOTAL_BYTES = 256 * 2**20
"""All answers of the Hub in one fetch."""

HUB_AROUND_BYTES = 2 * 2**20
"""What comes around all answers of the Hub in one fetch: headers, and lengths of pieces."""

HUB_PIECES = 20_000
"""Pieces in which all these answers come, and one more for each 512 bytes of them."""

HUB_LISTING_BYTES = 16 * 2**20
"""The Hub's list of the files of a repository."""

HUB_ERROR_BYTES = 64 * 2**10
"""What is read of an answer that says why there is no other."""

HUB_REDIRECTS = 5
"""Redirects in a row that are followed for one file."""

CACHED_RESULTS = 10_000
"""Tensors and plain values that one cached call may return."""

CACHED_TENSOR_BYTES = 2**40
"""One tensor that a cached call returned; its zeros take memory only where somebody writes to them."""

CACHED_NESTING = 50
"""Containers in containers in what a cached call returned."""


def profile_values(length: int) -> int:
    """How many values a profile of so many bytes may hold: an operator takes a few hundred bytes and has eight of them."""
    return max(PROFILE_VALUES, length // PROFILE_BYTES_PER_VALUE)
