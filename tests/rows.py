"""One real file of each row of the table of formats, of one title, text, table and link where they fit."""

from __future__ import annotations

import io
from collections.abc import Callable

from tests import compound, files, scanned


def pdf() -> bytes:
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Table

    buffer = io.BytesIO()
    styles = getSampleStyleSheet()
    story = [
        Paragraph(files.TITLE, styles["Heading1"]),
        Paragraph(files.TEXT, styles["Normal"]),
        PageBreak(),
        Table([*files.CELLS, ("South", "7 m")], colWidths=120),
    ]
    SimpleDocTemplate(buffer).build(story)
    return buffer.getvalue()


def mhtml() -> bytes:
    return (
        "From: <Saved by Blink>\r\nSnapshot-Content-Location: https://example.com/\r\nSubject: x\r\n"
        'MIME-Version: 1.0\r\nContent-Type: multipart/related; type="text/html"; boundary="b"\r\n\r\n'
        f"--b\r\nContent-Type: text/html\r\nContent-Location: https://example.com/\r\n\r\n{files.HTML}\r\n"
        "--b\r\nContent-Type: text/css\r\n\r\nbody {}\r\n--b--\r\n"
    ).encode()


MADE: dict[str, Callable[[], bytes]] = {
    "pdf": pdf,
    "docx": files.docx,
    "pptx": files.pptx,
    "xlsx": files.xlsx,
    "odt": files.odt,
    "ods": files.ods,
    "odp": files.odp,
    "epub": files.epub,
    "html": files.HTML.encode,
    "mhtml": mhtml,
    "md": files.MARKDOWN.encode,
    "asciidoc": files.ASCIIDOC.encode,
    "jats": files.JATS.encode,
    "vtt": files.VTT.encode,
    "csv": f"{files.CSV}South,{files.TEXT}\n".encode,
    "txt": f"{files.TEXT}\n\nAnd more.".encode,
    "eml": lambda: files.eml(("rules.html", files.HTML.encode())),
    "msg": lambda: compound.compound(
        compound.message(files.TITLE, files.TEXT, [("rules.html", files.HTML.encode())])
    ),
}


def _image(kind: str) -> Callable[[], bytes]:
    def made() -> bytes:
        buffer = io.BytesIO()
        scanned.scan().save(buffer, kind)
        return buffer.getvalue()

    return made


MADE |= {key: _image({"jpg": "jpeg"}.get(key, key)) for key in ("png", "jpg", "tiff", "webp", "gif", "bmp")}
