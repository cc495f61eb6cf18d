"""One idiom of Python or Jinja a line, as templates have them."""

# Rendered with `turns.text`. A line of expressions with "|" between them stands for as many cases (see `idioms`).
LINES = r"""
# tools and documents, both none here
{{ tools is not none }}
{{ tools is none }}
{{ tools is defined and tools }}
{{ tools is defined and tools is not none }}
{% if tools is iterable and tools | length > 0 %}yes{% else %}no{% endif %}
{{ not tools }}
{% if tools %}yes{% else %}no{% endif %}
{{ tools }}
{{ documents }}
{{ documents is defined }}|{{ documents is none }}
{% if not tools is defined %}a{% endif %}{% if not tools is none %}b{% endif %}{% if tools is not defined %}c{% endif %}
{% if custom_tools is defined %}{% set tools = custom_tools %}{% endif %}{% if not date_string is defined %}{% set date_string = '26 Jul 2024' %}{% endif %}{{ date_string }}{{ tools }}
{{ strftime_now is defined }}
{{ raise_exception is defined }}
{{ enable_thinking is defined and enable_thinking is false }}
{{ add_generation_prompt }}|{{ add_generation_prompt is true }}|{{ add_generation_prompt is sameas true }}
{{ add_generation_prompt is defined and add_generation_prompt }}
{{ bos_token + 'x' + eos_token }}|{{ unk_token }}{{ pad_token }}{{ image_token }}
{% set add_generation_prompt = false %}{{ add_generation_prompt }}
{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ add_generation_prompt }}
# messages
{{ messages | length }}|{{ messages | count }}
{{ messages[0]['role'] }}|{{ messages[0].role }}|{{ messages[-1].role }}
{{ messages[0]['content'] is string }}|{{ messages[0].content is not string }}
{{ messages[0]['content'] is iterable }}|{{ messages[0]['content'] is sequence }}|{{ messages[0]['content'] is mapping }}
{{ messages[1:] | length }}|{{ messages[:-1] | length }}|{{ messages[1:][0].role }}
{% for m in messages %}{{ loop.index0 % 2 }}{{ m.role[0] }}{% endfor %}
{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}ok{% endfor %}
{% for m in messages %}{{ m.tool_calls is defined }}{{ 'tool_calls' in m }}{{ m.tool_calls }}{% endfor %}
{% for m in messages if m.role == 'user' %}{{ loop.index }}/{{ loop.length }}{% if loop.last %}!{% endif %}{% endfor %}
{% for m in messages if m.role == 'tool' %}x{% else %}none{% endfor %}
{% for m in messages[::-1] %}{{ m.role }} {% endfor %}
{% for m in messages | reverse %}{{ m.role }} {% endfor %}
{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{{ ns.last }}
{% set x = 1 %}{% for m in messages %}{% set x = x + 1 %}{% endfor %}{{ x }}
{% for message in messages %}{% if loop.first %}{% set content = 'sys ' + message.content %}{% else %}{% set content = message.content %}{% endif %}{{ content }};{% endfor %}
{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% else %}{% set loop_messages = messages %}{% endif %}{{ loop_messages | length }}
{{ messages[0] }}
{{ messages[1] | tojson }}
{{ messages | tojson(indent=2) }}
{{ messages | map(attribute='role') | list }}
{{ messages | map(attribute='role') | unique | join(',') }}
{{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{{ messages | selectattr('role', '==', 'user') | map(attribute='content') | join('|') }}
{{ messages | selectattr('role', 'in', ['user', 'tool']) | list | length }}
{{ messages | selectattr('role', 'ne', 'user') | list | length }}
{{ messages | selectattr('tool_calls', 'defined') | list }}|{{ messages | selectattr('tool_calls', 'undefined') | list | length }}
{{ messages | selectattr('content') | list | length }}
{{ messages | rejectattr('role', 'equalto', 'user') | map(attribute='content') | first }}
{{ (messages | selectattr('role', 'equalto', 'user') | list)[-1].content }}
{{ (messages | last).content }}|{{ (messages | first)['content'] }}
{{ messages | groupby('role') | map('first') | list }}
{% for role, group in messages | groupby('role') %}{{ role }}={{ group | length }};{% endfor %}
{{ messages[0] == messages[-1] }}|{{ messages[0] == messages[0] }}|{{ messages[-1] in messages }}
{{ messages[0].get('name') }}|{{ messages[0].get('name', 'anon') }}|{{ messages[0].get('role') }}
{{ messages[0].name }}|{{ messages[0]['name'] }}|{{ messages[0].name is defined }}
{{ messages[9] is defined }}|{{ messages[9] }}|{{ messages[0].content[99] }}
{% for key, value in messages[0].items() %}{{ key }}:{{ value | length }} {% endfor %}
{{ messages[0].content.split('\n')[-1].strip() }}
{{ messages[0].content.replace('<image>\n', '') }}
{{ '<image>' in messages[0].content }}|{{ messages[0].content.startswith('<image>') }}
{{ messages[0].role.upper() + ': ' }}|{{ messages[0].role | title }}|{{ messages[0].role.capitalize() }}
{{ 'user' if messages[0].role == 'user' else 'other' }}
{{ messages is sequence }}|{{ messages is mapping }}|{{ messages is iterable }}|{{ messages is string }}|{{ messages[0] is mapping }}
# tojson
{{ "it's" | tojson }}
{{ '<b>&amp;</b> "q" \\ /' | tojson }}
{{ 'naïve 日本 🐈' | tojson }}
{{ 'naïve 日本 🐈' | tojson(ensure_ascii=True) }}
{{ 'naïve' | tojson(ensure_ascii=False) }}
{{ 'tab\tline\nreturn\r' | tojson }}
{{ {'a': 1, 'b': [1, 2.0, none, true, false], 'c': {'d': 'e'}} | tojson }}
{{ {'a': 1, 'b': [1, {'x': []}], 'c': {}} | tojson(indent=2) }}
{{ {'a': 1, 'b': [1, 2]} | tojson(indent=4) }}
{{ {'a': [1, 2]} | tojson(indent=0) }}
{{ {'a': 1} | tojson(4) }}
{{ {'a': [1, 2], 'b': 'c'} | tojson(separators=(',', ':')) }}
{{ {'a': [1, 2], 'b': 'c'} | tojson(indent=1, separators=(', ', ' : ')) }}
{{ {'b': 1, 'a': {'d': 1, 'c': 2}} | tojson(sort_keys=True) }}
{{ {'b': 1, 'a': 2} | tojson }}
{{ [1.5, 1e20, 1e16, 1e15, 1e-7, 0.1, 100.0, -0.0] | tojson }}
{{ (1, 2) | tojson }}|{{ [] | tojson }}|{{ {} | tojson }}|{{ '' | tojson }}
{{ none | tojson }}|{{ true | tojson }}|{{ 3 | tojson }}
{{ [[], {}] | tojson(indent=2) }}
{{ {1: 'a', none: 'b', true: 'c'} | tojson }}
{{ undefined_thing | tojson }}
# percent formatting
{{ '%s' % 'x' }}|{{ '%s' % 3 }}|{{ '%s' % none }}|{{ '%s' % true }}|{{ '%s' % 1.0 }}
{{ '%d' % 42 }}|{{ '%d' % 3.9 }}|{{ '%i' % 7 }}
{{ '%.2f' % 3.14159 }}|{{ '%f' % 1 }}|{{ '%8.3f|' % 2.5 }}|{{ '%e' % 12345.678 }}|{{ '%g' % 0.0001 }}
{{ '%s and %s' % ('a', 'b') }}
{{ '%(a)s-%(b)d' % {'a': 'x', 'b': 2} }}
{{ '%5s|%-5s|%05d|%x|%X|%o|%+d|%#x' % ('a', 'b', 42, 255, 255, 8, 5, 255) }}
{{ '%r' % "it's" }}|{{ '%s' % ['a'] }}|{{ '100%%' % () }}|{{ '%c' % 'z' }}|{{ '%.3s' % 'abcdef' }}
{{ '%s %s' % ('a',) }}
{{ '%d' % 'x' }}
{{ '%s' | format('x') }}|{{ '%s, %s!' | format('Hello', 'World') }}|{{ '%(n)s' | format(n=3) }}
# str.format
{{ '{} {}'.format('a', 1) }}|{{ '{0}{1}{0}'.format('a', 'b') }}|{{ '{x}'.format(x=3) }}
{{ '{:.2f}'.format(3.14159) }}|{{ '{:>5}|{:<5}|{:^5}'.format('a', 'b', 'c') }}|{{ '{:05d}'.format(42) }}
{{ '{:,}'.format(1234567) }}|{{ '{:x}'.format(255) }}|{{ '{:%}'.format(0.25) }}|{{ '{{}}'.format() }}|{{ '{!r}'.format('a') }}
{{ '{a[b]}'.format(a={'b': 1}) }}|{{ '{0[1]}'.format([1, 2]) }}
# string methods
{{ 'a b  c'.split() }}|{{ 'a,b,c'.split(',') }}|{{ 'a,b,c'.split(',', 1) }}|{{ 'a b c'.split(' ', maxsplit=1) }}|{{ ''.split() }}|{{ ''.split(',') }}
{{ 'a  b'.split(' ') }}|{{ ' a b '.split(none, 1) }}|{{ 'a</think>b'.split('</think>')[-1] }}
{{ 'a,b,c'.rsplit(',', 1) }}|{{ 'a b c'.rsplit() }}|{{ 'a,b,c'.rsplit(',', 1)[0] }}|{{ ' a b c '.rsplit(none, 1) }}
{{ 'abc'.split('') }}
{{ 'prefix-x'.removeprefix('prefix-') }}|{{ 'x.txt'.removesuffix('.txt') }}|{{ 'abc'.removeprefix('z') }}
{{ 'a=b=c'.partition('=') }}|{{ 'a=b=c'.rpartition('=') }}|{{ 'abc'.partition('=') }}|{{ 'abc'.rpartition('=') }}
[{{ '  x  '.strip() }}|{{ '  x  '.lstrip() }}|{{ '  x  '.rstrip() }}]
{{ 'xxaxx'.strip('x') }}|{{ 'xyaxy'.lstrip('xy') }}|{{ 'xyaxy'.rstrip('xy') }}|{{ '\n\na\n'.strip('\n') }}|{{ ' a '.strip(none) }}
{{ 'hello wORLD it\'s'.title() }}|{{ 'hELLO wORLD'.capitalize() }}|{{ 'straße'.upper() }}|{{ 'ÀB'.lower() }}|{{ 'aBc'.swapcase() }}|{{ 'Straße'.casefold() }}
{{ 'hello wORLD it\'s a-b_c 3d' | title }}|{{ 'hELLO wORLD' | capitalize }}|{{ 'a' | upper }}|{{ 'A' | lower }}
{{ 'abc'.startswith('ab') }}|{{ 'abc'.startswith(('x', 'a')) }}|{{ 'abc'.endswith('bc') }}|{{ 'abc'.endswith(('x', 'c')) }}|{{ 'abc'.startswith('b', 1) }}|{{ 'abc'.startswith('') }}
{{ 'banana'.find('an') }}|{{ 'banana'.rfind('an') }}|{{ 'banana'.find('x') }}|{{ 'banana'.index('n') }}|{{ 'banana'.rindex('n') }}|{{ 'banana'.count('an') }}|{{ 'banana'.find('an', 2) }}|{{ 'é日a'.find('a') }}
{{ 'banana'.index('x') }}
{{ 'banana'.replace('a', 'o') }}|{{ 'banana'.replace('a', 'o', 1) }}|{{ 'ab'.replace('', '-') }}
{{ 'banana' | replace('a', 'o') }}|{{ 'banana' | replace('a', 'o', 1) }}
{{ ', '.join(['a', 'b']) }}|{{ '-'.join('abc') }}|{{ ''.join([]) }}
{{ ', '.join(['a', 1]) }}
{{ 'a\nb\r\nc\n'.splitlines() }}|{{ 'a\nb'.splitlines(true) }}|{{ ''.splitlines() }}|{{ 'a\u2028b\x0bc'.splitlines() }}
{{ '12'.isdigit() }}|{{ ''.isdigit() }}|{{ 'ab'.isalpha() }}|{{ 'a1'.isalnum() }}|{{ ' \t'.isspace() }}|{{ 'AB'.isupper() }}|{{ 'ab'.islower() }}|{{ '1'.isnumeric() }}|{{ '½'.isdigit() }}|{{ 'A1'.isupper() }}|{{ 'Ab Cd'.istitle() }}|{{ 'a_1'.isidentifier() }}|{{ '٣'.isdecimal() }}|{{ 'é'.isascii() }}
{{ '42'.zfill(5) }}|{{ '-42'.zfill(5) }}|{{ 'a'.center(5) }}|{{ 'a'.center(4, '*') }}|{{ 'a'.ljust(3) }}|{{ 'a'.rjust(3, '.') }}|
{{ 'a\tb'.expandtabs(4) }}|{{ 'abc'.encode('utf-8') }}
{{ 'abc'.translate({97: 'x'}) }}
{{ '-' * 5 }}|{{ 'ab' * 0 }}|{{ 3 * 'ab' }}
{{ 'abcdef'[:3] }}|{{ 'abcdef'[-2:] }}|{{ 'abcdef'[::-1] }}|{{ 'abcdef'[1:4:2] }}|{{ 'abcdef'[1] }}|{{ 'abc'[-1] }}|{{ 'abc'[5:] }}|{{ 'é日🐈x'[1:3] }}
{{ 'ab' in 'cabd' }}|{{ '' in 'a' }}|{{ 'z' not in 'abc' }}|{{ not 'a' in 'abc' }}
{{ 'a' < 'b' }}|{{ 'Z' < 'a' }}|{{ 'a' == "a" }}|{{ 'abc' | length }}|{{ 'é日🐈' | length }}
{{ 'a' 'b' }}|{{ 'a' ~ 'b' ~ 1 }}
{{ 'x' + 1 }}
# lists
{{ [1, 2, 3][1:] }}|{{ [1, 2, 3][::-1] }}|{{ [1, 2, 3][-1] }}|{{ [1, 2, 3, 4][::2] }}|{{ [1, 2][5:] }}|{{ [1, 2, 3][-2:] }}|{{ [1, 2, 3][2:0:-1] }}
{{ [1] + [2, 3] }}|{{ [1, 2] * 2 }}|{{ (1, 2) + (3,) }}|{{ [] + ['a'] }}
{{ 1 in [1, 2] }}|{{ 'a' in {'a': 1} }}|{{ 3 not in [1, 2] }}|{{ 1.0 in [1] }}|{{ none in [none] }}
{{ [1, 2, 3].index(2) }}|{{ [1, 2, 1].count(1) }}
{{ [1, 2].index(9) }}
{{ [1, 2] == [1, 2] }}|{{ [1, 2] == (1, 2) }}|{{ [1, 2] < [1, 3] }}|{{ {'a': 1} == {'a': 1.0} }}|{{ 1 == true }}
{% set l = [] %}{% set _ = l.append(1) %}{{ l }}
{% set l = [1] %}{{ l.append(2) }}
{% set l = [1, 2] %}{{ l.pop() }}
{% set l = [2, 1] %}{{ l.sort() }}
{% set d = {'a': 1} %}{% set _ = d.update({'b': 2}) %}{{ d }}
{% set d = {'a': 1} %}{{ d.pop('a') }}
{% do [].append(1) %}
{% set l = [] %}{% for i in range(3) %}{% set l = l + [i] %}{% endfor %}{{ l }}
{% set ns = namespace(l=[]) %}{% for i in range(3) %}{% set ns.l = ns.l + [i * i] %}{% endfor %}{{ ns.l }}
{{ range(3) | list }}|{{ range(1, 7, 2) | list }}|{{ range(3, 0, -1) | list }}|{{ range(3) }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}|{% for x, y in [(1, 2), (3, 4)] %}{{ x + y }} {% endfor %}
{{ [i for i in [1]] }}
# dicts
{{ {'a': 1, 'b': 2}.items() | list }}|{{ {'a': 1}.keys() | list }}|{{ {'a': 1}.values() | list }}
{{ {'a': 1}.items() }}|{{ {'a': 1}.keys() }}|{{ {'a': 1}.values() }}
{{ {'a': 1}.get('a') }}|{{ {'a': 1}.get('z') }}|{{ {'a': 1}.get('z', 0) }}|{{ {'a': none}.get('a', 0) }}
{{ {'a': 1}['a'] }}|{{ {'a': 1}.a }}|{{ {'a': 1}['z'] }}|{{ {'items': 3}.items is callable }}|{{ {'items': 3}['items'] }}
{{ dict(a=1, b='x') }}|{{ dict({'a': 1}, b=2) }}|{{ {'a': 1} | length }}|{{ {'b': 1, 'a': 2} | list }}
{% for k in {'z': 1, 'a': 2} %}{{ k }}{% endfor %}|{% for k, v in {'z': 1, 'a': 2} | dictsort %}{{ k }}{{ v }}{% endfor %}|{{ {'a': 2, 'B': 1} | dictsort(false, 'value') }}|{{ {'a': 1} | items | list }}
{{ {'a': {'b': {'c': 1}}}.a.b.c }}|{{ {'a': {}}.a.b is defined }}|{{ {1: 'x'}[1] }}|{{ {'a': 1, 'a': 2} }}
{{ {'a': 1}.copy() }}
# conditions
{{ 1 < 2 < 3 }}|{{ 1 < 3 < 2 }}|{{ 1 == 1 == 1 }}
[{{ 'a' if false }}]|{{ 'a' if true }}|{{ ('a' if false) is defined }}
{{ none or 'x' }}|{{ '' or 'y' }}|{{ 'a' and 'b' }}|{{ 0 and 1 }}|{{ not '' }}|{{ [] or {} }}
{{ not none }}|{{ not 0 }}|{{ not [] }}|{{ not 'a' }}|{{ true and not false }}
{{ 1 if [] else 2 }}|{{ 1 if '0' else 2 }}|{{ 1 if 0.0 else 2 }}|{{ 1 if missing else 2 }}
# loops
{% for i in 'abc' %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }};{% endfor %}
{% for i in [1, 2, 3] %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }};{% endfor %}
{% for i in [1, 2, 3] %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }};{% endfor %}
{% for i in range(4) %}{{ loop.cycle('odd', 'even') }} {% endfor %}
{% for i in [1, 1, 2] %}{{ loop.changed(i) }} {% endfor %}
{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for x in [{'n': 'a', 'c': [{'n': 'b', 'c': []}]}] recursive %}{{ x.n }}{{ loop.depth }}{{ loop.depth0 }}({{ loop(x.c) }}){% endfor %}
{% for i in [] %}x{% else %}empty{% endfor %}
{% for i in none %}x{% endfor %}
{% for i in missing %}x{% else %}empty{% endfor %}
{% for i in 5 %}x{% endfor %}
{% for i in [1, 2] %}{% for j in [3, 4] %}{{ loop.index }}{{ i * j }} {% endfor %}{% endfor %}
{% for i in [1, 2] %}{% set outer = loop %}{% for j in 'ab' %}{{ outer.index }}{{ j }}{% endfor %}{% endfor %}
{% for i in [3, 1] %}{% if not loop.last %}{{ i }}, {% else %}{{ i }}.{% endif %}{% endfor %}{{ i }}
{% for i in [1, 2, 3] if i is odd %}{{ loop.index }}:{{ i }} {% endfor %}
{% set ns = namespace(found=false, n=0) %}{% for i in [1, 2] %}{% set ns.found = true %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.found }}{{ ns.n }}
{% set ns = namespace() %}{% set ns.x = 'a' %}{{ ns.x }}{{ ns.y is defined }}
{% set ns = namespace() %}{% set ns._x = 'a' %}{{ ns._x }}
{% set d = {} %}{% set d.x = 1 %}{{ d }}
# macros and blocks
{% macro f(a, b='d', c=none) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }}|{{ f(1, 2) }}|{{ f(1, c=3) }}|{{ f(b=2, a=1) }}|{{ f() }}
{% macro f(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, 3, k=4) }}
{% macro f() %}<{{ caller() }}>{% endmacro %}{% call f() %}body{% endcall %}
{% macro f() %}<{{ caller('x') }}>{% endmacro %}{% call(y) f() %}{{ y }}{{ y }}{% endcall %}
{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f.name }}{{ f.arguments }}{{ f is callable }}{{ f('<') | upper }}|{{ f(1) + 'x' }}|{{ f(1) is string }}
{% macro f() %}{{ messages | length }}{{ x }}{% endmacro %}{% set x = 5 %}{{ f() }}
{% set x %}a{{ 1 + 1 }}b{% endset %}{{ x }}|{{ x | length }}|{{ x is string }}
{% set x | upper %}abc{% endset %}{{ x }}
{% filter upper %}abc{% endfilter %}
{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}
{% if true %}{% set x = 1 %}{% endif %}{{ x }}
{% block b %}inside{% endblock %}
{% generation %}a{% endgeneration %}|{%- generation -%} b {%- endgeneration -%} |c
{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{% endfor %}
{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}
{% raw %}{{ x }} {% y %} {# z #}{% endraw %}
a{# comment {{ x }} #}b{#- c -#} d
{{ '{{' }}{{ '%}' }}{{ "}}" }}
{% include 'x' %}
{% autoescape true %}{{ '<' }}{% endautoescape %}
# filters
[{{ '  x ' | trim }}|{{ 'xxaxx' | trim('x') }}|{{ '\n x \n' | trim }}|{{ 5 | trim }}]
{{ ['a', 1, none] | join(', ') }}|{{ [1, 2] | join }}|{{ [{'n': 'a'}, {'n': 'b'}] | join('-', attribute='n') }}|{{ 'abc' | join('.') }}
{{ [{'a': {'b': 1}}] | map(attribute='a.b') | list }}|{{ [{'a': 1}, {}] | map(attribute='a', default=0) | list }}|{{ ['a'] | map('upper') | list }}|{{ [' a '] | map('trim') | join }}|{{ ['a'] | map('replace', 'a', 'b') | list }}
{{ [1, 2, 3] | select('odd') | list }}|{{ [1, 2, 3] | reject('odd') | list }}|{{ [0, 1, ''] | select | list }}|{{ [1, 2, 3] | select('gt', 1) | list }}|{{ [1, 2, 3] | select('>=', 2) | list }}|{{ [none, 1] | reject('none') | list }}
{{ [{'a': none}, {'a': 1}] | selectattr('a', 'none') | list }}|{{ [{'a': none}, {'a': 1}, {}] | rejectattr('a', 'none') | list }}|{{ [{'a': 1}, {'a': 2}] | selectattr('a', 'gt', 1) | list }}
{{ ['b', 'A', 'c'] | sort }}|{{ ['b', 'A', 'c'] | sort(case_sensitive=true) }}|{{ [1, 3, 2] | sort(reverse=true) }}|{{ [{'n': 2}, {'n': 1}] | sort(attribute='n') }}
{{ [1, 1, 2] | unique | list }}|{{ ['a', 'A'] | unique | list }}|{{ [3, 1] | min }}|{{ [3, 1] | max }}|{{ [1, 2.5] | sum }}|{{ [{'n': 2}] | sum(attribute='n') }}|{{ [] | sum }}
{{ [1, 2, 3] | first }}|{{ [1, 2, 3] | last }}|{{ [] | first }}|{{ 'abc' | first }}|{{ 'abc' | last }}|{{ 'abc' | reverse }}|{{ [1, 2] | reverse | list }}
{{ [1, 2, 3] | batch(2) | list }}|{{ [1, 2, 3] | batch(2, 0) | list }}|{{ [1, 2, 3] | slice(2) | list }}
{{ 'abc' | list }}|{{ (1, 2) | list }}|{{ 5 | string }}|{{ none | string }}|{{ '42' | int }}|{{ 'x' | int }}|{{ 'x' | int(7) }}|{{ '3.9' | int }}|{{ '1.5' | float }}|{{ 'x' | float }}|{{ '0x1f' | int(base=16) }}|{{ true | int }}|{{ 3.9 | int }}
{{ 2.5 | round }}|{{ 3.5 | round }}|{{ 2.567 | round(2) }}|{{ 2.1 | round(0, 'ceil') }}|{{ 2.9 | round(method='floor') }}|{{ 5 | round }}|{{ -3 | abs }}|{{ 1234.5 | round | int }}
{{ missing | default('x') }}|{{ none | default('x') }}|{{ none | default('x', true) }}|{{ '' | default('x', true) }}|{{ missing | d('y') }}|{{ missing | default }}|{{ false | default('x', boolean=true) }}
{{ missing.a | default('z') }}
{{ messages[0].a | default('z') }}
{{ messages[0].a.b | default('z') }}
{{ 'a b' | wordcount }}|{{ 'hello world foo' | truncate(8) }}|{{ 'hello world' | truncate(8, true, '…') }}|{{ 'short' | truncate(10) }}|{{ 'a' | center(5) }}|
{{ '<a href="x">\'&' | escape }}|{{ '<' | e }}|{{ '<' | safe }}|{{ ('<' | e) + '<' }}|{{ '<' | e | upper }}|{{ '&lt;' | e }}|{{ 5 | e }}
{{ 'a b/ü&' | urlencode }}|{{ {'a': 'b c', 'd': 1} | urlencode }}|{{ '<b>x</b>  y' | striptags }}|{{ 'a' | length }}
{{ 123456 | filesizeformat }}|{{ 'x y' | wordwrap(1) }}|{{ {'a': none, 'b': 1} | xmlattr }}
{{ {'a': [1, {'b': 'c'}]} | pprint }}
{{ 'abc' | nosuchfilter }}
{{ {'a': 1} | attr('keys') is callable }}
# tests
{{ 'a' is string }}|{{ {} is mapping }}|{{ [] is sequence }}|{{ 'a' is sequence }}|{{ {} is sequence }}|{{ 'a' is iterable }}|{{ none is iterable }}|{{ (1,) is iterable }}|{{ 3 is iterable }}
{{ 1 is number }}|{{ 1.5 is number }}|{{ true is number }}|{{ 1 is integer }}|{{ true is integer }}|{{ 1.0 is float }}|{{ 1 is float }}|{{ true is boolean }}|{{ 1 is boolean }}|{{ '1' is number }}
{{ none is none }}|{{ 0 is none }}|{{ missing is none }}|{{ x is defined }}|{{ none is defined }}|{{ x is undefined }}|{{ x is not defined }}
{{ true is true }}|{{ 1 is true }}|{{ false is false }}|{{ 0 is false }}|{{ none is false }}
{{ 3 is odd }}|{{ 4 is even }}|{{ 9 is divisibleby(3) }}|{{ 9 is divisibleby 3 }}|{{ none is sameas none }}|{{ 1 is sameas true }}
{{ 1 is eq 1 }}|{{ 1 is equalto 1 }}|{{ 1 is ne 2 }}|{{ 1 is in [1] }}|{{ 1 is lt 2 }}|{{ 2 is ge 2 }}|{{ 'a' is lower }}|{{ 'A' is upper }}|{{ 'A1' is upper }}|{{ range is callable }}|{{ 'a' is callable }}|{{ 'upper' is filter }}|{{ 'odd' is test }}|{{ 'a' is escaped }}
{{ not x is defined }}|{{ x is not none and x }}|{{ 'a' is not string }}|{{ 'a' is not in ['a'] }}
{{ x is nosuchtest }}
# printing, as Python's str and repr
{{ True }}|{{ true }}|{{ False }}|{{ None }}|{{ none }}|{{ 1.0 }}|{{ 1e20 }}|{{ 1e16 }}|{{ 1e15 }}|{{ 1e-5 }}|{{ 0.0001 }}|{{ 0.1 + 0.2 }}|{{ 1e100 }}|{{ -0.0 }}|{{ 123456789.125 }}
{{ [1, 'a', none, true, 1.0] }}|{{ {'a': 'b', 'c': [none]} }}|{{ (1, 'a') }}|{{ (1,) }}|{{ () }}|{{ [] }}|{{ {} }}|{{ [[]] }}
{{ ["it's"] }}|{{ ['say "hi"'] }}|{{ ["it's \"both\""] }}|{{ ['a\nb\t\\\r'] }}|{{ ['é日🐈'] }}|{{ ['\x00\x7f\u200d\xa0\u2028\ue000'] }}|{{ {"k'": 1} }}
{{ 'x' ~ none ~ true ~ 1 ~ 1.0 ~ [1] ~ missing }}
{{ [missing] }}|{{ {'a': missing} }}
{{ 'a' | list | string }}|{{ ['a'] ~ '' }}|{{ {'a': 1} | string }}|{{ true | string | lower }}
{{ 0x1F }}|{{ 1_000 }}|{{ 0b101 }}|{{ 0o17 }}|{{ 'a\x41\u00e9\N{BULLET}' }}|{{ '\a\q' }}
{{ 'a' | upper | list }}|{{ messages | map(attribute='role') is iterable }}
# arithmetic
{{ 7 / 2 }}|{{ 8 / 2 }}|{{ 7 // 2 }}|{{ -7 // 2 }}|{{ -7 % 3 }}|{{ 7 % -3 }}|{{ 7.5 // 2 }}|{{ -7.5 % 2 }}|{{ 2 ** 10 }}|{{ 2 ** -1 }}|{{ 2 ** 0.5 }}|{{ -2 ** 2 }}|{{ 2 ** 3 ** 2 }}
{{ 2 ** 64 }}|{{ 9223372036854775807 + 1 }}|{{ 18446744073709551616 }}|{{ 12345678901234567890123 * 2 }}
{{ 2 ** 100 }}|{{ -(2 ** 63) - 1 }}|{{ 2 ** 200 }}
{{ 1 + 1.0 }}|{{ 3 * 1.5 }}|{{ 1 - 3 }}|{{ +1 }}|{{ -1 }}|{{ true + 1 }}|{{ 1 == 1.0 }}|{{ 5 % 3.0 }}
{{ 1 / 0 }}
{{ 1 + none }}
{{ 10 > 9 }}|{{ 'b' >= 'a' }}|{{ 1 != 2 }}
{{ 1 < 'a' }}
{{ (1 + 2) * 3 }}|{{ 1 + 2 * 3 }}|{{ 10 - 2 - 3 }}|{{ 2 * 3 ~ 1 }}|{{ not 1 == 2 }}|{{ 1 + 2 ~ 3 + 4 }}|{{ (1 + 2) ~ (3 + 4) }}|{{ 2 ~ 3 * 4 }}|{{ -1 | abs }}|{{ 1 + 2 | string | length }}
# undefined and errors
[{{ missing }}]|{{ missing is defined }}|{{ missing == '' }}|{{ missing | length }}|{{ missing ~ 'x' }}|{{ missing == missing2 }}
{{ missing.attribute }}
{{ missing['key'] }}
{{ missing() }}
{{ missing + 'x' }}
{{ missing in 'abc' }}
{{ 'a' in missing }}
{{ none.attribute }}|{{ none['x'] }}|{{ none.a is defined }}
{{ none.a.b }}
{{ none | length }}
{{ none + 'x' }}
{{ none.strip() }}
{{ 'abc'.nosuch }}|{{ 'abc'.nosuch is defined }}
{{ 'abc'.nosuch() }}
{{ messages[0].content.text }}|{{ messages[0]['content']['text'] }}
{{ raise_exception('no: "x"') }}
{{ raise_exception('a' ~ messages[0]) }}
{% if false %}{{ raise_exception('never') }}{% endif %}fine
{{ messages.__class__ }}
{{ ''.__class__.__mro__ }}
{{ nosuchfunction('x') }}
{% nosuchtag %}
{% if true %}
{{ 'unclosed }}
{{ 1 +
{{ lipsum is defined }}|{{ cycler is defined }}|{{ joiner is defined }}|{{ dict is defined }}
{% set j = joiner(', ') %}{% for i in [1, 2] %}{{ j() }}{{ i }}{% endfor %}|{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}
{{ self is defined }}|{{ loop is defined }}|{{ caller is defined }}
"""
