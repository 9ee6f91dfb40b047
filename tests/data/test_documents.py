"""Documents of every kind as text, and what cannot be read."""

from __future__ import annotations

import pytest

from longmab_pl.data.documents import read_document
from longmab_pl.errors import DataError


def write_pdf(path, pages, title=b""):
    """A PDF with one line of text a page, written by hand: objects, then their places."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, text in enumerate(pages):
        drawn = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode()
        resources = b"/Resources << /Font << /F1 3 0 R >> >> /MediaBox [0 0 612 792]"
        objects.append(b"<< /Type /Page /Parent 2 0 R %b /Contents %d 0 R >>" % (resources, 5 + 2 * i))
        objects.append(b"<< /Length %d >>\nstream\n%b\nendstream" % (len(drawn), drawn))
    body, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    path.write_bytes(body + end % (len(objects) + 1, table, len(objects) + 1, len(body)))
    return path


def test_text_and_markdown_are_read_as_they_are(tmp_path):
    for name, content in (("a.txt", "Zürich\n"), ("b.md", "# Title\n\nText."), ("noending", "x")):
        (tmp_path / name).write_text(content, encoding="utf-8")
        assert read_document(tmp_path / name) == content
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbfText")
    assert read_document(tmp_path / "bom.txt") == "Text"


def test_the_pages_of_a_pdf_are_joined_and_its_ending_does_not_matter(tmp_path):
    pytest.importorskip("pypdf")
    found = read_document(write_pdf(tmp_path / "two.pdf", ["The river is the Po.", "The town is old."]))
    assert found == "The river is the Po.\n\nThe town is old."
    assert read_document(write_pdf(tmp_path / "two.dat", ["Same here."])) == "Same here."


def test_what_holds_no_text_is_named_with_what_to_do(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_document(tmp_path / "gone.txt")
    with pytest.raises(DataError, match="no such file"):
        read_document(tmp_path)
    (tmp_path / "latin.txt").write_bytes("Zürich".encode("latin-1"))
    with pytest.raises(DataError, match=r"not UTF-8 text \(byte 1\)"):
        read_document(tmp_path / "latin.txt")
    (tmp_path / "binary").write_bytes(b"a\0b")
    with pytest.raises(DataError, match="NUL bytes"):
        read_document(tmp_path / "binary")
    (tmp_path / "empty.md").write_text(" \n")
    with pytest.raises(DataError, match="it is empty"):
        read_document(tmp_path / "empty.md")


def test_damaged_locked_and_scanned_pdfs_are_told_apart(tmp_path):
    pypdf = pytest.importorskip("pypdf")
    (tmp_path / "damaged.pdf").write_bytes(b"%PDF-1.4\nnothing")
    with pytest.raises(DataError, match="cannot be read as a PDF"):
        read_document(tmp_path / "damaged.pdf")
    with pytest.raises(DataError, match="may be pictures"):
        read_document(write_pdf(tmp_path / "scanned.pdf", [""]))
    writer = pypdf.PdfWriter(clone_from=write_pdf(tmp_path / "open.pdf", ["Secret."]))
    writer.encrypt("word", algorithm="RC4-128")
    writer.write(tmp_path / "locked.pdf")
    with pytest.raises(DataError, match="protected by a password"):
        read_document(tmp_path / "locked.pdf")
