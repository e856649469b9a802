"""Chat templates in the bounded sandbox: what models write comes out the same, what grows or does not end is an error."""

from __future__ import annotations

import time

import pytest
from jinja2.exceptions import SecurityError, UndefinedError
from transformers.utils.chat_template_utils import render_jinja_template

from fxprof.capture.templates import bounded

CHAT = [{"role": "system", "content": "be good"}, {"role": "user", "content": [{"type": "text", "text": "a <cat> & c"}]}]

USUAL = {
    "a chat": (
        "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for c in m.content %}{{ c.text | trim }}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "counters": (
        "{% set ns = namespace(a=0) %}{% for m in messages %}{% set ns.a = ns.a + 1 %}{{ loop.index }} {{ loop.last }} "
        "{{ loop.length }} {{ m['role'] ~ '!' ~ ns.a }}{{ m | tojson }}{% endfor %}"
    ),
    "macros and methods": (
        "{% macro f(x) %}[{{ x }}]{% endmacro %}{% for k, v in messages[0].items() %}{{ f(k) }}{{ f(v) | upper }}"
        "{{ v.split(' ')[0].replace('b', 'c') }}{% endfor %}{{ range(3) | list }}{{ '%s-%d' | format('a', 3) }}"
        "{{ messages[0].content.startswith('be') }}{% for m in messages if m.role == 'user' %}{{ m.role }}{% endfor %}"
        "{% for m in nothing %}x{% else %}none{% endfor %}{% generation %}y{% endgeneration %}{{ '{:>4}'.format('a') }}"
        "{{ messages | map(attribute='role') | join(', ') }}"
    ),
}

GROWS = "{{% set ns = namespace(x={start}) %}}{{% for i in range(60) %}}{step}{{% endfor %}}{{{{ ns.x }}}}"
EXCESSES = {
    "nested loops": "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "a loop with text": "{% for a in range(100000) %}" + "x" * 10_000 + "{% endfor %}",
    "a repeated text": "{{ 'a' * 10**9 }}",
    "a power": "{{ 10**(10**10) }}",
    "a wide number": "{{ '%1000000000d' % 1 }}",
    "a wide number by a star": "{{ '%*d' % (1000000000, 1) }}",
    "a wide field": "{{ '{:1000000000}'.format(1) }}",
    "a wide filter": "{{ '%999999999d' | format(1) }}",
    "ljust": "{{ 'a'.ljust(1000000000) }}",
    "center": "{{ 'a' | center(1000000000) }}",
    "indent": "{{ messages | tojson(indent=1000000000) }}",
    "doubling by ~": GROWS.format(start="'a'", step="{% set ns.x = ns.x ~ ns.x %}"),
    "doubling by +": GROWS.format(start="'a'", step="{% set ns.x = ns.x + ns.x %}"),
    "doubling by a block": GROWS.format(start="'a'", step="{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}"),
    "doubling of lists": GROWS.format(start="[1]", step="{% set ns.x = [ns.x, ns.x] %}"),
    "squaring": GROWS.format(start="3", step="{% set ns.x = ns.x * ns.x %}"),
    "replace": GROWS.format(start="'aa'", step="{% set ns.x = ns.x.replace('a', ns.x) %}"),
    "the filter replace": GROWS.format(start="'aa'", step="{% set ns.x = ns.x | replace('a', ns.x) %}"),
    "join": "{{ range(100000) | join('x' * 100000) }}",
    "the method join": "{{ ('a' * 100000).join(range(100000) | map('string') | list) }}",
    "calls of calls": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(100) }}",
    "a long template": "x" * 600_000,
    "the inside of Python": "{{ ''.__class__.__mro__ }}",
}


@pytest.mark.parametrize("name", USUAL)
def test_what_models_write_comes_out_the_same(name: str) -> None:
    plain = render_jinja_template([CHAT], chat_template=USUAL[name], add_generation_prompt=True)
    with bounded():
        assert render_jinja_template([CHAT], chat_template=USUAL[name], add_generation_prompt=True) == plain
    assert plain[0][0]


@pytest.mark.parametrize("name", EXCESSES)
def test_what_grows_or_does_not_end_is_an_error_within_seconds(name: str) -> None:
    started = time.perf_counter()
    with bounded(), pytest.raises(SecurityError):
        render_jinja_template([CHAT], chat_template=EXCESSES[name])
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("{{ lipsum(100000) }}", UndefinedError),
        ("{% for x in range(1000) recursive %}{{ loop(range(1000)) }}{% endfor %}", RecursionError),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", RecursionError),
    ],
)
def test_what_python_itself_ends_is_an_error(template: str, error: type[Exception]) -> None:
    with bounded(), pytest.raises(error):
        render_jinja_template([CHAT], chat_template=template)


def test_each_rendering_has_the_whole_budget() -> None:
    template = "{% for a in range(60000) %}{{ a }}{% endfor %}"
    with bounded():
        for _ in range(10):
            assert render_jinja_template([CHAT], chat_template=template)[0][0].endswith("59999")


def test_the_sandbox_is_as_before_afterwards() -> None:
    with bounded(), pytest.raises(SecurityError):
        render_jinja_template([CHAT], chat_template=EXCESSES["a repeated text"].replace("10**9", "10**6"))
    assert render_jinja_template([CHAT], chat_template="{{ 'a' * 10**6 }}")[0][0] == "a" * 10**6
