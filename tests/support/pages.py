"""What a reader sees of an HTML page."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Tags with their attributes, rows of table cells, and the text of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.rows, self.text, self.in_cell = [], [], "", False
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.in_cell = False

    def handle_data(self, data):
        self.text += data
        if self.in_cell:
            self.rows[-1][-1] += data.strip()

    def row(self, first):
        (row,) = [r for r in self.rows if first in r[:2]]
        return row[row.index(first) :]

    def images(self):
        return [attrs["src"] for tag, attrs in self.tags if tag == "img"]
