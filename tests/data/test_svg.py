import http.server
import io
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from zoo.data import svg

resvg_py = pytest.importorskip("resvg_py")
BOX = (0, 0, 8, 8)


def test_the_current_color_is_black_on_white():
    for color in ("currentColor", "#000"):
        picture = svg.picture(f'<path fill="{color}" d="M2 0h4v8h-4z"/>', BOX, 16)
        expected = np.full((16, 16, 1), 255, np.uint8)
        expected[:, 4:12] = 0
        np.testing.assert_array_equal(picture, expected)


def test_half_a_pixel_is_gray():
    picture = svg.picture('<rect width="0.5" height="8"/>', BOX, 8)
    np.testing.assert_allclose(picture[:, 0, 0], 127.5, atol=1.5)
    assert (picture[:, 1:] == 255).all()


def test_colors():
    body = '<rect width="4" height="8" fill="#f00"/><rect x="4" width="4" height="8" fill="#00f" opacity="0.5"/>'
    picture = svg.picture(body, BOX, 4, color=True)
    assert picture.shape == (4, 4, 3) and picture.dtype == np.uint8
    assert (picture[:, :2] == [255, 0, 0]).all()
    np.testing.assert_allclose(picture[:, 2:], np.broadcast_to([127, 127, 255], (4, 2, 3)), atol=1)
    gray = svg.picture(body, BOX, 4)
    np.testing.assert_array_equal(gray[..., 0], np.array(Image.fromarray(picture).convert("L")))


def test_the_box_is_fitted_to_the_square():
    # Twice as wide as high: a quarter of the square is white above, and below.
    picture = svg.picture('<rect x="-10" y="5" width="20" height="10"/>', (-10, 5, 20, 10), 8)
    np.testing.assert_array_equal(picture[:, 0, 0], [255, 255, 0, 0, 0, 0, 255, 255])


def test_what_a_drawing_defines_itself_is_drawn():
    body = (
        '<defs><linearGradient id="g"><stop stop-color="#f00"/></linearGradient><path id="p" d="M0 0h4v8h-4z"/>'
        '<clipPath id="c"><rect width="8" height="4"/></clipPath></defs>'
        '<use xlink:href="#p" fill="url(#g)"/><use href="#p" x="4" style="fill:url(#g);clip-path:url( \'#c\' )"/>'
    )
    picture = svg.picture(body, BOX, 8, color=True)
    assert (picture[:, :4] == [255, 0, 0]).all() and (picture[:4, 4:] == [255, 0, 0]).all()
    assert (picture[4:, 4:] == 255).all()


@pytest.fixture
def outside(tmp_path):
    """Addresses of a red picture: a path, and that of a server; and the list of what the server was asked for."""
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    (tmp_path / "red.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg"><rect id="r" width="8" height="8"/></svg>'
    )
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield str(tmp_path / "red.png"), f"http://127.0.0.1:{server.server_port}/red.png", asked
    server.shutdown()
    server.server_close()


REACHING = [
    '<image href="{}" width="8" height="8"/>',
    '<image xlink:href="{}" width="8" height="8"/>',
    '<i:image xmlns:i="http://www.w3.org/2000/svg" href="{}" width="8" height="8"/>',
    '<filter id="f"><feImage href="{}"/></filter><rect width="8" height="8" filter="url(#f)"/>',
    '<use href="{}"/>',
    '<use xlink:href="{}#r"/>',
    '<rect width="8" height="8" fill="url({})"/>',
    '<rect width="8" height="8" style="fill:URL( \'{}#r\' )"/>',
    '<style>@import url({});</style><rect width="8" height="8"/>',
    '<script href="{}"/>',
    '<foreignObject><img xmlns="http://www.w3.org/1999/xhtml" src="{}"/></foreignObject>',
    "<text>{}</text>",
]


@pytest.mark.parametrize("body", REACHING)
def test_refuses_what_reaches_outside(body, outside):
    path, url, asked = outside
    for place in (path, f"file://{path}", path.replace("png", "svg"), url):
        with pytest.raises(svg.Refused) as caught:
            svg.picture(body.format(place), BOX, 8)
        assert caught.value.reason == "unsupported"
    assert asked == []


def test_the_renderer_alone_would_read_files(outside):
    # Why the check is needed; if this fails, the renderer has become safer.
    document = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8">{}</svg>'
    data = resvg_py.svg_to_bytes(svg_string=document.format(REACHING[0].format(outside[0])), background="#ffffff")
    assert (np.array(Image.open(io.BytesIO(data)).convert("RGB")) == [255, 0, 0]).all()


def doubled(levels, template):
    groups = "".join(template.format(i, i - 1) for i in range(1, levels + 1))
    return f'<g id="a0"><path d="M0 0h8v8z"/></g>{groups}'


TOO_MUCH = {
    "uses": doubled(30, '<g id="a{0}"><use href="#a{1}"/><use xlink:href="#a{1}"/></g>'),
    "masks": doubled(30, '<mask id="a{0}"><g mask="url(#a{1})"/><g style="mask:url(\'#a{1}\')"/></mask>'),
    "chain": doubled(5000, '<g id="a{0}"><use href="#a{1}"/></g>'),
    "cycle": '<g id="a"><use href="#b"/></g><g id="b"><use href="#a"/></g>',
    "itself": '<use id="a" href="#a"/>',
    "deep": "<g>" * 5000 + "</g>" * 5000,
    "many": "<path/>" * 30_000,
}


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_refuses_drawings_that_grow(kind):
    began = time.monotonic()
    with pytest.raises(svg.Refused) as caught:
        svg.picture(TOO_MUCH[kind], BOX, 8)
    assert caught.value.reason == "unsupported" and time.monotonic() - began < 5


def test_limits_can_be_reached():
    nested = svg.DEEPEST - 2  # beside the root and the shape
    picture = svg.picture("<g>" * nested + '<rect width="8" height="8"/>' + "</g>" * nested, BOX, 8)
    assert (picture == 0).all()
    assert (svg.picture("<path/>" * 9_999, BOX, 8) == 255).all()


ENTITIES = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(10))
BROKEN = {
    "cut": '<path d="M0 0h8v8z"',
    "two": "</svg><svg>",
    "entity": "<path>&nothing;</path>",
    "bomb": f'<!DOCTYPE svg [<!ENTITY e0 "x">{ENTITIES}]><path>&e10;</path>',
    "prefix": "<i:path/>",
    "null": "<path>\0</path>",
    "surrogate": "<path id='\ud800'/>",
    "long": f"<path d='{'M0 0' * 300_000}'/>",
    "number": 5,
    "nothing": None,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_refuses_what_is_no_drawing(kind):
    with pytest.raises(svg.Refused) as caught:
        svg.picture(BROKEN[kind], BOX, 8)
    assert caught.value.reason == "unreadable"


@pytest.mark.parametrize(
    "box",
    [(0, 0, 0, 8), (0, 0, 8, -1), (0, 0, 8, float("nan")), (0, 0, 1e300, 8), ("0", 0, 8, 8), (0, 0, None, 8), (0, 0)],
)
def test_refuses_a_box_that_is_none(box):
    with pytest.raises(svg.Refused, match="no box"):
        svg.picture("<path/>", box, 8)


def test_without_the_renderer(monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(ImportError, match="expected the package resvg_py.*pip install resvg_py"):
        svg.picture("<path/>", BOX, 8)
