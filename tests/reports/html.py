"""A page as a browser's parser sees it, and the laws that every page obeys."""

import base64
import hashlib
import re
from html.parser import HTMLParser

VOID = {"meta"}
LOADING = {"src", "srcset", "href", "xlink:href", "poster", "data", "action", "background", "cite"}


class Page(HTMLParser):
    """Tags in order, text by enclosing tag, tables as rows of cells; unbalanced tags fail."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.tables = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        assert len({name for name, _ in attributes}) == len(attributes), attributes
        self.tags.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    def text(self, *within):
        """All text, or that within some tags."""
        return "".join(t for tag, t in self.texts if tag != "style" and tag in (within or {tag}))


def checked(text):
    """The page, parsed, after the laws: balanced, self-contained, without script, under its CSP."""
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "object", "embed", "link", "base", "img", "form")
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in LOADING & attributes.keys():
            assert attributes[name].startswith("#"), (tag, attributes)
    style = "".join(t for tag, t in page.texts if tag == "style")
    assert "url(" not in style and "@import" not in style
    metas = [a for tag, a in page.tags if tag == "meta"]
    assert metas[0] == {"charset": "utf-8"}
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert metas[1]["http-equiv"] == "Content-Security-Policy"
    rules = dict(rule.strip().split(" ", 1) for rule in metas[1]["content"].split(";"))
    assert rules == {
        "default-src": "'none'", "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip
    links = [a["href"][1:] for tag, a in page.tags if tag == "a"]
    names = [a["id"] for _, a in page.tags if "id" in a]
    assert len(set(names)) == len(names) and set(links) <= set(names)
    used = {c for _, a in page.tags for c in (a.get("class") or "").split()}
    assert all(re.search(rf"\.{c}\b", style) or c in UNSTYLED for c in used), used
    return page


UNSTYLED = {"d0"}  # a solid line needs no rule
