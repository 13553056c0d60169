from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from bvrank.reports.markup import Markup, element, together
from bvrank.reports.text import readable

ANY = st.text(st.characters(codec=None), max_size=40)


class Parsed(HTMLParser):
    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.starts, self.data = [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.starts.append((tag, attributes))

    def handle_data(self, data):
        self.data += data


@given(ANY, ANY)
def test_any_text_comes_back_as_text(text, value):
    parsed = Parsed(element("p", text, class_=value))
    assert parsed.starts == [("p", [("class", readable(value))])]
    assert parsed.data == readable(text)


def test_markup_goes_in_as_it_is_and_text_does_not():
    inner = element("b", "a<b")
    assert element("p", inner, "<i>") == "<p><b>a&lt;b</b>&lt;i&gt;</p>"
    assert together(inner, "&", Markup("<hr>")) == "<b>a&lt;b</b>&amp;<hr>"


def test_names_of_attributes_and_elements_without_an_end():
    assert element("meta", http_equiv="x") == '<meta http-equiv="x">'
    assert element("text", x=3, class_="left") == '<text x="3" class="left"></text>'


def test_joining_text_to_markup_takes_it_for_text_again():
    assert element("p", Markup("<b>") + "<i>") == "<p>&lt;b&gt;&lt;i&gt;</p>"


def test_secrets_are_hidden():
    assert "sk-" not in element("p", "key sk-abcdefghijklmnopqrst")
