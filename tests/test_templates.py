"""Go templates as docker scripts write them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyrun.errors import InvalidArgument
from hyrun.templates import Template, render, unescape

DATA: dict[str, Any] = {
    "ID": "abc",
    "State": {"Status": "running", "Pid": 5},
    "Labels": {"b": "2", "a": "1"},
    "Options": None,
    "Mounts": [{"Source": "/a"}, {"Source": "/b"}],
    "List": [1, "x"],
    "None": None,
    "True": True,
    "Empty": [],
    "Half": 1.5,
    "Quote": 'a"b\n',
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain } text", "plain } text"),
        ("{{.ID}}", "abc"),
        ("{{ .ID }}/{{.State.Status}}", "abc/running"),
        ("{{$.ID}}", "abc"),
        ("{{.List}} {{.True}} {{.None}} {{.Half}} {{.Empty}}", "[1 x] true <no value> 1.5 []"),
        ("{{.Labels}}", "map[a:1 b:2]"),
        ('{{printf "%v" .None}} {{print .None}}', "<nil> <nil>"),
        # What is a map in docker's API knows no mistaken key, and a nil map prints as an empty one.
        ("{{.Labels.a}}{{.Labels.zz}}{{if .Labels.zz}}x{{else}}y{{end}}", "1<no value>y"),
        ("{{.Options}}{{.Options.zz}}{{json .Options}}{{len .Options}}", "map[]<no value>null0"),
        ("{{with .Labels}}{{.zz}}{{end}}{{$l := .Labels}}{{$l.a}}{{$l.zz}}", "<no value>1<no value>"),
        ("{{json .Labels}}", '{"b":"2","a":"1"}'),
        ("{{json .State.Status}}{{.List | json}}", '"running"[1,"x"]'),
        ("{{range .List}}[{{.}}]{{end}}", "[1][x]"),
        ("{{range .Mounts}}{{.Source}},{{$.ID}};{{end}}", "/a,abc;/b,abc;"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range .None}}x{{else}}none{{end}}", "none"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}},{{end}}", "a=1,b=2,"),
        ("{{range $i, $v := .List}}{{$i}}{{$v}}{{end}}", "011x"),
        ("{{range $v := .List}}{{$v}}{{end}}{{range 3}}{{.}}{{end}}", "1x012"),
        ("{{if .Empty}}a{{else if .None}}b{{else}}c{{end}}", "c"),
        ("{{if .Empty}}a{{else if .True}}b{{else}}c{{end}}d", "bd"),
        ("{{if .ID}}{{if .None}}a{{else}}b{{end}}{{end}}", "b"),
        ("{{with .State}}{{.Pid}}{{end}}{{with .None}}a{{else}}b{{end}}", "5b"),
        ("{{with $s := .State}}{{$s.Pid}}{{end}}", "5"),
        ("{{$x := 1}}{{if .True}}{{$x = 2}}{{$x := 3}}{{$x}}{{end}}{{$x}}", "32"),
        ('{{index .Labels "a"}}|{{index .Labels "zz"}}|{{index .None "x"}}|', "1|||"),
        ('{{(index .Mounts 1).Source}} {{index .Mounts 0 "Source"}}', "/b /a"),
        ('{{join .List ","}} {{split "a,b" ","}} {{join (split "abc" "") "-"}}', "1,x [a b] a-b-c"),
        ('{{upper "aé"}}{{lower "AB"}} {{title "a b-c dE"}}', "AÉab A B-C DE"),
        ('{{len .Labels}} {{len "é"}} {{len .None}} {{.List | len}}', "2 2 0 2"),
        ('{{println "a" 1}}{{print 1 2 "a" 3 4}}', "a 1\n1 2a3 4"),
        ('{{printf "%s %d %q %v %t" .ID 5 .Quote .List true}}', 'abc 5 "a\\"b\\n" [1 x] true'),
        ('{{printf "%-5s|%5s|%05d|%+d|" "a" "b" 42 7}}', "a    |    b|00042|+7|"),
        ('{{printf "%x|%.2f|%.1s|%c|%%" 255 1.5 "xyz" 65}}', "ff|1.50|x|A|%"),
        ('{{printf "%d" "x"}} {{printf "%s"}}', "%!d(string=x) %!s(MISSING)"),
        ('{{printf "a" 1}}', "a%!(EXTRA int=1)"),
        ('{{eq .ID "x" "abc"}} {{ne .ID "x"}} {{eq .None .None}} {{eq .None "x"}}', "true true true false"),
        ("{{lt 1 2}}{{le 2 2}}{{gt 1 2}}{{ge 1 2}}", "truetruefalsefalse"),
        ("{{and .True .ID}} {{and .None .Nope}} {{not .True}}", "abc <no value> false"),
        ('{{or .None "d"}} {{or .True .Nope}}', "d true"),
        ('{{if and .True (eq .State.Status "running")}}y{{end}}', "y"),
        ("a  {{- .ID -}}  b", "aabcb"),
        ("a {{/* a comment */}}b {{- /* another }} */ -}} c", "a bc"),
        ('{{"\\t"}}{{`\\t`}}{{"}}"}}{{"\\x41\\u00e9\\101"}}', "\t\\t}}AéA"),
        ("{{'a'}} {{0x10}} {{-5}} {{010}} {{1e3}}", "97 16 -5 8 1000"),
        ("{{slice .ID 1}} {{slice .ID 0 2}} {{truncate .ID 1}}[{{pad .ID 1 2}}]", "bc ab a[ abc  ]"),
    ],
)
def test_prints_what_go_prints(template: str, text: str) -> None:
    assert render(template, DATA) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.Foo}}", 'template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo"'),
        ("\n {{.State.Foo}}", 'template: :2:9: executing "" at <.State.Foo>: map has no entry for key "Foo"'),
        ("{{.ID.x}}", "can't evaluate field x in type string"),
        ("{{.None.x}}", 'nil data; no entry for key "x"'),
        ("{{.List.append}}", "can't evaluate field append in type slice"),
        ("{{.__class__}}", 'map has no entry for key "__class__"'),
        ("{{.keys}}", 'map has no entry for key "keys"'),
        ("{{.ID.__class__}}", "can't evaluate field __class__"),
        ('{{.ID "x"}}', "ID has arguments but cannot be invoked as function"),
        ("{{foo}}", 'function "foo" not defined'),
        ("{{__import__}}", 'function "__import__" not defined'),
        ("{{.ID", "unclosed action"),
        ('{{"a}}', "unterminated quoted string"),
        ("{{}}", "missing value for command"),
        ("{{.ID | }}", "missing value for command"),
        ("{{(.ID}}", "unclosed left paren"),
        ("{{.ID)}}", "unexpected <)>"),
        ("{{if .ID}}", "{{if}} has no {{end}}"),
        ("{{if .ID}}a{{else}}b{{else}}c{{end}}", "{{if}} has no {{end}}"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{else}}", "unexpected {{else}}"),
        ("{{/* a", "unclosed comment"),
        ('{{define "x"}}{{end}}', "{{define}} is not supported"),
        ("{{$y}}", 'undefined variable "$y"'),
        ("{{if .True}}{{$y := 1}}{{end}}{{$y}}", 'undefined variable "$y"'),
        ("{{$y = 1}}", 'undefined variable "$y"'),
        ("{{index .List 9}}", "error calling index: index out of range: 9"),
        ("{{index .List -1}}", "index out of range"),
        ('{{index .List "a"}}', "cannot index slice/array with type string"),
        ('{{eq 1 "a"}}', "incompatible types for comparison"),
        ("{{eq 1 true}}", "incompatible types for comparison"),
        ("{{upper}}", "wrong number or type of args for upper: got 0"),
        ("{{upper 1}}", "expected string; got int"),
        ("{{len 3}}", "len of type int"),
        ('{{printf "%99999999d" 1}}', "too wide"),
        ("{{1 | 2}}", "non executable command in pipeline stage 2"),
        ("{{1 2}}", "can't give argument to non-function"),
        ("{{nil}}", "nil is not a command"),
        ("{{12ab}}", "bad number syntax"),
        ("{{089}}", "bad number syntax"),
        ("{{'ab'}}", "malformed character constant"),
        ('{{"\\ud800"}}', "invalid escape"),
        ("{{range .ID}}{{end}}", "range can't iterate over a string"),
        ("{{" + "(" * 5000 + "1" + ")" * 5000 + "}}", "nested more than"),
        ("{{if 1}}" * 5000 + "{{end}}" * 5000, "nested more than"),
        ("{{if 0}}a" + "{{else if 0}}b" * 5000 + "{{end}}", "nested more than"),
    ],
)
def test_refuses_with_gos_words(template: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        render(template, DATA)
    assert message in str(caught.value)
    assert str(caught.value).startswith("template: :")


def test_an_unknown_field_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match=r"\(it has Pid, Status\)"):
        render("{{.State.Foo}}", DATA)


def test_a_row_may_offer_methods_which_json_leaves_out() -> None:
    row = {"ID": "a", "Label": {"k": "v"}.get}
    assert render('{{.Label "k"}} {{"k" | .Label}} {{if .Label "x"}}y{{end}}', row) == "v v "
    assert render("{{json .}}{{.}}", row) == '{"ID":"a"}map[ID:a]'


def test_the_header_of_a_table_keeps_names_as_they_are() -> None:
    header = Template('{{json .A}}\t{{upper .B}}\t{{join .C ","}}\t{{len .A}}', header=True)
    assert header.render({"A": "Names", "B": "b", "C": "c"}) == "Names\tb\tc\t5"


def test_backslash_escapes_outside_of_actions_become_characters() -> None:
    assert unescape(r'a\tb\n{{"\t"}}\t{{.A}}') == 'a\tb\n{{"\\t"}}\t{{.A}}'
    assert unescape(r"a\t{{.ID") == "a\t{{.ID"


@given(st.text(alphabet="{}.()|\"'`\\-$ :=/*abeifndrgls0159\n", max_size=40))
def test_any_text_gives_text_or_one_kind_of_error(template: str) -> None:
    try:
        assert isinstance(render(template, DATA), str)
    except InvalidArgument:
        pass


@given(st.text().filter(lambda text: "{{" not in text))
def test_text_without_actions_is_itself(text: str) -> None:
    assert render(text, None) == text


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda value: st.lists(value) | st.dictionaries(st.text(), value),
)


@given(_JSON)
def test_json_reads_back_as_the_value(value: Any) -> None:
    import json

    assert json.loads(render("{{json .}}", value)) == value
