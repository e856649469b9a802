"""Processors of texts and images for a model, put together part by part, without any Auto class.

The classes are those of transformers, whose code decides all sizes. A stand-in replaces a tokenizer without its vocabulary.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import transformers
from transformers.models.auto import auto_mappings
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from fxprof import limits
from fxprof.capture.arrays import bounded_calls, constructing
from fxprof.capture.classes import component_class, find_class, is_placeholder
from fxprof.capture.error_causes import missing_package, reason_of
from fxprof.capture.foreign import reading
from fxprof.capture.tokenizers import StandInProcessor, StandInTokenizer
from fxprof.capture.untrusted_files import cleaned, refuse_sizes
from fxprof.capture.vocabularies import check_added, has_vocabulary, trusted_copy
from fxprof.source.config import ComponentConfig
from fxprof.source.directory import holds, read_object
from fxprof.texts import read_bytes

_TOKEN = re.compile(r"\btokenizer\.(\w+_token)\b")
"""A special token that a processor takes from its tokenizer."""
_LITERAL = re.compile(r"\"(<\|?\w+\|?>|\[[A-Z_]+\])\"")
"""A special token that a processor names itself."""
_FILES = {
    "image_processor": "preprocessor_config.json",
    "video_processor": "video_preprocessor_config.json",
    "feature_extractor": "preprocessor_config.json",
}
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "image_processor": IMAGE_PROCESSOR_MAPPING_NAMES,
    "feature_extractor": auto_mappings.FEATURE_EXTRACTOR_MAPPING_NAMES,
}
"""The classes that transformers has for a part of a processor, by type of model."""
_VIDEO_ENTRY = re.compile(r"\(\"([\w-]+)\", \{\"torchvision\": \"(\w+VideoProcessor)\"\}\)")
_IMAGES = (
    "{% for message in messages %}< {{ message.role }} > "
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}IMAGE{% elif part.type == 'video' %}VIDEO{% else %}{{ part.text }} {% endif %}"
    "{% endfor %}{% endif %} < > {% endfor %}"
    "{% if add_generation_prompt %}< assistant > {% endif %}"
)
"""A template for chats with images, for targets without one."""

Say = Callable[[str], None]
"""Takes a remark."""


def tokenizer(what: str, name: str, part: ComponentConfig, say: Say) -> Any:
    """A tokenizer with its own vocabulary where that is there and readable, otherwise a stand-in.

    Raises:
        CaptureError: transformers has no such class, or cannot read its files.
    """
    class_ = find_class(part.library, part.class_name)
    directory = part.directory if has_vocabulary(part.directory) else None
    if directory is None and (class_ is None or is_placeholder(class_)):
        if class_ is None:
            component_class(what, part)
        return stand_in(part, ("input_ids", "attention_mask"))
    try:
        class_ = component_class(what, part)
        if directory is not None:
            with trusted_copy(directory) as copy, reading():
                return class_.from_pretrained(copy, local_files_only=True, trust_remote_code=False)
    except (ImportError, ValueError) as error:
        package = missing_package(error)
        if package is None:
            raise
        say(f"{name} counted words, because its vocabulary cannot be read: {reason_of(error)}")
    return stand_in(part, getattr(class_, "model_input_names", ("input_ids", "attention_mask")))


def stand_in(part: ComponentConfig, input_names: Any) -> StandInTokenizer:
    """A stand-in tokenizer that counts words."""
    return StandInTokenizer(part.class_name, {"model_input_names": input_names, **_of_files(part)})


def _of_files(part: ComponentConfig) -> dict[str, Any]:
    """The values of a part, without the lengths and identifiers that only a bundled model may state if they come from files.

    Raises:
        CaptureError: they add more tokens than any model has.
    """
    if part.directory is None:
        return dict(part.values)
    path = part.directory / "tokenizer_config.json"
    check_added(path if holds(path.is_file) else part.directory, part.values)
    return {key: value for key, value in part.values.items() if key not in {"measured", "token_ids"}}


def processor(what: str, name: str, part: ComponentConfig, say: Say) -> Any:
    """A processor of transformers, put together from the files of its directory.

    Raises:
        CaptureError: a class is unknown, or transformers cannot read a file.
    """
    if part.directory is None:
        return StandInProcessor(part.class_name, part.values)
    class_ = component_class(what, part)
    own = _object(part.directory / "processor_config.json")
    attributes = class_.get_attributes()
    made_of = {
        key: _tokenizer_part(what, name, part.directory, say)
        if "tokenizer" in key
        else _other_part(what, class_, key, own, part)
        for key in attributes
    }
    if any(made is None for made in made_of.values()):
        return StandInProcessor(part.class_name, _of_files(part))
    for key, made in made_of.items():
        if "tokenizer" in key:
            _complete(made, class_)
    accepted = inspect.signature(class_.__init__).parameters.keys() - {"self", "args", "kwargs", *attributes}
    options = {key: value for key, value in own.items() if key in accepted and key not in {"chat_template", "audio_tokenizer"}}
    made = _lenient(class_)(**made_of, **options)
    made.chat_template = _template(part.directory, own) or getattr(made.tokenizer, "chat_template", None)
    if isinstance(made.tokenizer, StandInTokenizer) or made.chat_template is None:
        made.chat_template = _with_tokens(made)
    return made


def _lenient(class_: type) -> Any:
    """A class that also takes parts that transformers would refuse: video processors that it hides, tokenizers of ours."""
    names = {"__module__": class_.__module__, "check_argument_for_proper_class": lambda *_: object}
    return type(class_.__name__, (class_,), {**names, "__qualname__": class_.__qualname__})


def _tokenizer_part(what: str, name: str, directory: Path, say: Say) -> Any:
    config = _object(directory / "tokenizer_config.json")
    class_name = str(config.get("tokenizer_class") or "PreTrainedTokenizerFast")
    return tokenizer(what, name, ComponentConfig("transformers", class_name, config, directory), say)


def _other_part(what: str, class_: type, key: str, own: Mapping[str, Any], part: ComponentConfig) -> Any:
    assert part.directory is not None
    nested = own.get(key)
    values = nested if isinstance(nested, Mapping) else _object(part.directory / _FILES.get(key, f"{key}_config.json"))
    named = next((values[item] for item in (f"{key}_type", "feature_extractor_type") if values.get(item)), None)
    class_name = named if isinstance(named, str) else _default(class_, key)
    return image_processor(what, ComponentConfig("transformers", class_name, dict(values))) if class_name else None


def _default(class_: type, key: str) -> str | None:
    """The class that transformers takes for a part of a processor, where the files do not name one."""
    module = class_.__module__.split(".")[-2]
    types = [kind for kind, name in PROCESSOR_MAPPING_NAMES.items() if name == class_.__name__]
    known = _video_processors() if key == "video_processor" else _DEFAULTS.get(key, {})
    for kind in (module, module.replace("_", "-"), *types):
        entry = known.get(kind)
        if entry:
            return entry["torchvision"] if isinstance(entry, Mapping) else str(entry)
    return None


@cache
def _video_processors() -> Mapping[str, str]:
    """The class for each type of model, from the source: transformers empties the table where torchvision is not installed."""
    home = Path(auto_mappings.__file__).parent
    sources = [(home / f"{name}.py").read_text(encoding="utf-8") for name in ("auto_mappings", "video_processing_auto")]
    return dict(entry for source in sources for entry in _VIDEO_ENTRY.findall(source))


def image_processor(what: str, part: ComponentConfig) -> Any:
    """A processor of images, sound or videos, of a class of transformers."""
    class_ = component_class(what, part)
    values, _ = cleaned(part.values)
    refuse_sizes(what, values)
    hidden = {"processor_class", "image_processor_type", "feature_extractor_type", "video_processor_type"}
    with constructing():
        made = class_.from_dict({key: value for key, value in values.items() if key not in hidden})
    return bounded_calls(made[0] if isinstance(made, tuple) else made)


def _complete(tokenizer: Any, class_: type) -> None:
    """Give a tokenizer the special tokens that a processor expects; each is one token, as in the real one."""
    source = inspect.getsource(class_)
    for name in sorted(set(_TOKEN.findall(source))):
        if f'hasattr(tokenizer, "{name}")' not in source and getattr(tokenizer, name, None) is None:
            setattr(tokenizer, name, f"<|{name}|>")
            tokenizer.add_tokens([f"<|{name}|>"], special_tokens=True)
    known = tokenizer.get_vocab()
    missing = [token for token in dict.fromkeys(_LITERAL.findall(source)) if token not in known]
    if missing:
        tokenizer.add_tokens(missing, special_tokens=True)


def _with_tokens(made: Any) -> str:
    tokens = {"IMAGE": "image_token", "VIDEO": "video_token"}
    text = _IMAGES
    for word, attribute in tokens.items():
        token = str(getattr(made, attribute, ""))
        text = text.replace(word, "{{ " + repr(token) + " }}")
    return text


def _template(directory: Path, own: Mapping[str, Any]) -> str | None:
    path = directory / "chat_template.jinja"
    if holds(path.is_file):
        return read_bytes(path, limits.TEMPLATE).decode("utf-8", "replace")
    template = _object(directory / "chat_template.json").get("chat_template") or own.get("chat_template")
    return template if isinstance(template, str) else None


def _object(path: Path) -> dict[str, Any]:
    return cleaned(read_object(path))[0] if holds(path.is_file) else {}


def is_processor(class_name: str) -> bool:
    """Whether transformers has a class of this name that joins a tokenizer with a processor of images or sound."""
    plain = class_name.endswith("Processor") and not class_name.endswith(("ImageProcessor", "VideoProcessor"))
    class_ = find_class("transformers", class_name) if class_name.endswith("Processor") else None
    if inspect.isclass(class_) and not is_placeholder(class_) and issubclass(class_, transformers.ProcessorMixin):
        return True
    return plain and hasattr(transformers, class_name)
