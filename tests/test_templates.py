"""Chat templates in the bounded sandbox: what models write comes out the same, what grows or does not end is an error."""

from __future__ import annotations

import time
from typing import Any

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

MESSAGES = [
    {"role": "system", "content": "be good"},
    {"role": "user", "content": "a cat"},
    {"role": "assistant", "content": "<think>why</think>\n\nhere", "reasoning_content": "why"},
    {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "draw", "arguments": {"what": "a cat"}}}]},
    {"role": "tool", "content": "drawn"},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "another"}]},
]
TOOLS = [{"type": "function", "function": {"name": "draw", "parameters": {"type": "object", "properties": {}}}}]
FAMILIES = {
    "Qwen": (
        "{%- if tools %}{{- '<|im_start|>system\\n' }}"
        "{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}"
        "{%- endif %}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}{{- '<|im_end|>\\n' }}{%- endif %}"
        "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}"
        "{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}"
        "{%- if ns.multi_step_tool and message.role == 'user' and message.content is string"
        " and not(message.content.startswith('<tool_response>')) %}"
        "{%- set ns.multi_step_tool = false %}{%- set ns.last_query_index = index %}{%- endif %}{%- endfor %}"
        "{%- for message in messages %}{%- if message.content is string %}{%- set content = message.content %}"
        "{%- else %}{%- set content = '' %}{%- endif %}"
        "{%- if (message.role == 'user') or (message.role == 'system' and not loop.first) %}"
        "{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}"
        "{%- elif message.role == 'assistant' %}{%- set reasoning_content = '' %}"
        "{%- if message.reasoning_content is defined and message.reasoning_content is not none %}"
        "{%- set reasoning_content = message.reasoning_content %}{%- endif %}{%- if '</think>' in content %}"
        "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
        "{%- if loop.index0 > ns.last_query_index %}{{- '<think>\\n' + reasoning_content.strip('\\n') }}{%- endif %}"
        "{{- content }}"
        "{%- for call in message.tool_calls or [] %}{{- call.function.name ~ (call.function.arguments | tojson) }}{%- endfor %}"
        "{{- '<|im_end|>\\n' }}{%- elif message.role == 'tool' %}"
        "{%- if loop.first or (messages[loop.index0 - 1].role != 'tool') %}{{- '<|im_start|>user' }}{%- endif %}{{- content }}"
        "{%- if loop.last or (messages[loop.index0 + 1].role != 'tool') %}{{- '<|im_end|>\\n' }}{%- endif %}{%- endif %}"
        "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
    ),
    "Qwen VL": (
        "{% set image_count = namespace(value=0) %}{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for content in message['content'] %}"
        "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
        "{% set image_count.value = image_count.value + 1 %}Picture {{ image_count.value }}: <|image_pad|>"
        "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    ),
    "Llama": (
        "{{- bos_token }}{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}"
        "{%- if not tools is defined %}{%- set tools = none %}{%- endif %}"
        "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content']|trim %}"
        "{%- set messages = messages[1:] %}{%- else %}{%- set system_message = '' %}{%- endif %}{{- system_message }}"
        "{%- if tools is not none %}{%- for t in tools %}{{- t | tojson(indent=4) }}{%- endfor %}{%- endif %}"
        "{%- set messages = [{'role': 'ipython', 'content': 'first'}] + messages %}{%- for message in messages %}"
        "{%- if not (message.role in ['ipython', 'tool'] or 'tool_calls' in message) and message.content is string %}"
        "{{- '<|start|>' + message['role'] + '<|end|>' + message['content'] | trim + '<|eot_id|>' }}"
        "{%- elif 'tool_calls' in message %}{%- if not message.tool_calls|length == 1 %}"
        "{{- raise_exception('one call at once') }}{%- endif %}{%- set tool_call = message.tool_calls[0].function %}"
        "{%- for arg_name, arg_val in tool_call.arguments | items %}{{- arg_name + '=\"' + arg_val + '\"' }}"
        "{%- if not loop.last %}{{- ', ' }}{%- endif %}{%- endfor %}"
        "{%- elif message.role == 'tool' or message.role == 'ipython' %}"
        "{%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}"
        "{%- endif %}{%- endif %}{%- endfor %}"
    ),
    "Gemma": (
        "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- if messages[0]['content'] is string -%}"
        "{%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}{%- endif -%}{%- set loop_messages = messages[1:] -%}"
        "{%- else -%}{%- set first_user_prefix = '' -%}{%- set loop_messages = messages -%}{%- endif -%}"
        "{%- for message in loop_messages -%}{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}!{%- endif -%}"
        "{%- if (message['role'] == 'assistant') -%}{%- set role = 'model' -%}{%- else -%}{%- set role = message['role'] -%}"
        "{%- endif -%}{{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else '') }}"
        "{%- if message['content'] is string -%}{{ message['content'] | trim }}{%- elif message['content'] is iterable -%}"
        "{%- for item in message['content'] -%}{%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}"
        "{%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}{%- endfor -%}{%- endif -%}"
        "{{ '<end_of_turn>\\n' }}{%- endfor -%}{{ (1, 2) }}{{ {'a': [1, (2, 3)]} }}{{ [] == [] }}{{ messages[:-1] | length }}"
        "{{ messages | selectattr('role', 'in', ['user', 'tool']) | list | length }}{{ 3 in range(5) }}{{ 1 < 2 < 3 in [3] }}"
        "{% for a, b in [(1, 2), (3, 4)] if a is in([3]) %}{{ a }}{{ b }}{% else %}none{% endfor %}"
    ),
}
"""As those of the families are written, shortened."""

GROWS = "{{% set ns = namespace(x={start}) %}}{{% for i in range(60) %}}{step}{{% endfor %}}{{{{ ns.x }}}}"
OFTEN = "{{% set l = [0] * 90000 %}}{{% set k = [0] * 90000 %}}{{% set s = 'a' * 90000 %}}"
OFTEN += "{{% for i in range(99999) %}}{}{{% endfor %}}"
REPEATED = {
    "a number in a list": "{% if 1 in l %}x{% endif %}",
    "a number not in a list": "{% if 1 not in l %}{% endif %}",
    "the test in": "{% if 1 is in(l) %}x{% endif %}",
    "the test in of a filter": "{% set y = [1, 2] | select('in', l) | list %}",
    "a text in a text": "{% if 'aab' in s %}{% endif %}",
    "what is made in passing": "{% if 1 in l | map('string') %}{% endif %}",
    "a range": "{% if 'a' in range(99999) %}{% endif %}",
    "lists that are equal": "{% if k == l %}x{% endif %}",
    "the test eq": "{% if k is eq(l) %}x{% endif %}",
    "lists in order": "{% if k < l %}x{% endif %}",
    "a slice of a list": "{% set y = l[1:] %}",
    "a slice of a text": "{% if s[::-1] %}{% endif %}",
    "a key": "{% if {}[(s, 1)] %}{% endif %}",
    "a list of one": "{% set y = [l] %}",
    "a long list": "{% if [" + "i," * 15_000 + "] %}{% endif %}",
    "a long body": "{% set a = 1 %}" * 6_000,
}
EXCESSES = {
    **{name: OFTEN.format(step) for name, step in REPEATED.items()},
    "a long macro": "{% macro m() %}"
    + "{% set a = 1 %}" * 6_000
    + "{% endmacro %}{% for i in range(99999) %}{% set b = m() %}{% endfor %}",
    "slices that are kept": "{% set ns = namespace(l=[0] * 90000, k=[]) %}{% for i in range(99999) %}"
    "{% set ns.k = [ns.k, ns.l[:]] %}{% endfor %}",
    "names that a block copies": "".join(f"{{% set a{i} = 1 %}}" for i in range(5_000))
    + "{% for i in range(99999) %}{% block x scoped %}{% endblock %}{% endfor %}",
    "doubled lists that are equal": "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}"
    "{% set ns.x = [ns.x, ns.x] %}"
    "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{% if ns.x == ns.y %}t{% endif %}",
    "doubled tuples as a key": "{% set ns = namespace(x=(1,)) %}{% for i in range(60) %}"
    "{% set ns.x = (ns.x, ns.x) %}{% endfor %}"
    "{% set d = {ns.x: 1} %}",
    "doubled objects": GROWS.format(start="1", step="{% set ns.x = {'a': ns.x, 'b': ns.x} %}"),
    "doubled views": GROWS.format(start="1", step="{% set ns.x = {'a': ns.x, 'b': ns.x}.values() %}"),
    "doubled namespaces": GROWS.format(start="1", step="{% set ns.x = namespace(a=ns.x, b=ns.x) %}"),
    "a budget that is given back": "{% for a in range(99999) %}{{ (0 - 1000000) | _steps }}{{ 'a' * 10000 }}{% endfor %}",
    "a field that is repeated": "{{ ('{0}' * 30000).format('a' * 90000) }}",
    "a name that is repeated": "{{ ('%(a)s' * 20000) % {'a': 'a' * 90000} }}",
    "widths by stars": "{{ ('%*d' * 20000) % ((200000, 1) * 20000) }}",
    "widths in fields": "{{ ('{0:{1}}' * 20000).format('a', 200000) }}",
    "wide tabs": r"{{ ('\t' * 90000).expandtabs(200000) }}",
    "wide lines": r"{{ ('\n' * 90000) | indent(200000, blank=true) }}",
    "a wide list": "{{ ([0] * 90000) | tojson(indent=200000) }}",
    "a sum of lists": "{{ ([[0]] * 60000) | sum(start=[]) }}",
    "many values": "{{1}}" * 20_000,
    "many macros": "".join(f"{{% macro m{i}() %}}{{% endmacro %}}" for i in range(13_000)),
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


@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_templates_of_the_families_come_out_the_same(name: str, tools: Any) -> None:
    def rendered() -> str:
        text: str = render_jinja_template([MESSAGES], tools, chat_template=FAMILIES[name], bos_token="<bos>")[0][0]
        return text

    plain = rendered()
    with bounded():
        assert rendered() == plain
    assert "a cat" in plain


def test_a_long_chat_comes_out_the_same() -> None:
    chat = [{"role": ("user", "assistant")[i % 2], "content": "a cat " * 300} for i in range(20)]
    for template in FAMILIES.values():
        plain = render_jinja_template([chat], chat_template=template, bos_token="<bos>")[0][0]
        with bounded():
            assert render_jinja_template([chat], chat_template=template, bos_token="<bos>")[0][0] == plain


def test_a_template_of_too_many_statements_is_told_so() -> None:
    with bounded(), pytest.raises(SecurityError, match="has more than 20,000 names, values and statements"):
        render_jinja_template([CHAT], chat_template="{{1}}" * 20_000)


def test_what_is_searched_in_passing_is_left_as_it_would_be() -> None:
    template = "{% set m = [1, 2, 3] | map('string') %}{{ '2' in m }}{{ m | list }}"
    with bounded():
        assert render_jinja_template([CHAT], chat_template=template)[0][0] == "True['3']"


LONG = {"a long macro", "doubled views", "doubled namespaces", "the test in of a filter", "a number in a list"}
"""Those that take seconds until they are refused, and are much like another one."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in EXCESSES])
def test_what_grows_or_does_not_end_is_an_error_within_seconds(name: str) -> None:
    started = time.process_time()
    with bounded(), pytest.raises(SecurityError):
        render_jinja_template([CHAT], chat_template=EXCESSES[name])
    assert time.process_time() - started < 10


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
