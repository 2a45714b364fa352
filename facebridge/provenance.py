"""What a generated picture says of itself: what made it, and from which file. Written as XMP, read back safely."""

from dataclasses import dataclass
from urllib.parse import quote, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's digital source type of a picture that a trained network made."""
PASTED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's digital source type of a photograph of which a trained network made a part."""
MARK = "Generated face, not a photograph. Made by: "
PASTED_MARK = "Photograph with a generated face in it. Made by: "
LONGEST_MARK = 1000


@dataclass(frozen=True)
class Provenance:
    """How a generated picture came about.

    made_by: FaceBridge and the method, 1 to 1000 printable characters. weights_sha256: of the file with the weights.
    version: FaceBridge's. source: the picture that it was made from, relative to the folder of its list.
    source_sha256: of that file. pasted: whether this is the whole source picture, with the face put back into it.
    """

    made_by: str
    weights_sha256: str
    version: str
    source: str
    source_sha256: str
    pasted: bool = False

    @property
    def sentence(self) -> str:
        """All of it in words; printable, with `source` as `as_text` has it."""
        mark = PASTED_MARK if self.pasted else MARK
        return (
            f"{mark}{self.made_by} (weights SHA-256 {self.weights_sha256}, FaceBridge {self.version}). "
            f"Made from: {as_text(self.source)} (SHA-256 {self.source_sha256})"
        )


def as_text(path: str) -> str:
    """A path in printable characters that XML and PNG take: all others, and %, are percent-encoded as in a URI.

    Of a path whose text is over 2,000 characters long, the last of them.
    """
    text = "".join(letter if letter.isprintable() and letter != "%" else _encoded(letter) for letter in path)
    return text if len(text) <= _LONGEST_PATH else f"...{text[-_LONGEST_PATH:]}"


def checked_mark(generated_by: str) -> str:
    """The text. ValueError: if it is not 1 to 1000 printable characters."""
    if not generated_by or not generated_by.isprintable() or len(generated_by) > LONGEST_MARK:
        raise ValueError(f"generated_by must be 1 to {LONGEST_MARK} printable characters, got {generated_by!r:.80}")
    return generated_by


def to_xmp(provenance: Provenance) -> str:
    """An XMP packet (Adobe's XML of metadata), well-formed whatever the names hold; at most some 40 kB."""
    values = {name: getattr(provenance, name) for name in _FIELDS} | {"source": as_text(provenance.source)}
    text = escape(provenance.sentence)
    own = "".join(f"\n   <fb:{tag}>{escape(values[name])}</fb:{tag}>" for name, tag in _FIELDS.items())
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{_RDF}">
  <rdf:Description rdf:about="" xmlns:dc="{_DC}" xmlns:xmp="{_XMP}" xmlns:Iptc4xmpExt="{_IPTC}" xmlns:fb="{_OWN}">
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt></dc:description>
   <dc:source>{escape(values["source"])}</dc:source>
   <xmp:CreatorTool>{escape(f"FaceBridge {provenance.version}")}</xmp:CreatorTool>
   <Iptc4xmpExt:DigitalSourceType>{PASTED if provenance.pasted else GENERATED}</Iptc4xmpExt:DigitalSourceType>{own}
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def from_xmp(packet: bytes) -> Provenance | None:
    """What `to_xmp` wrote, or None if a packet, which may be a stranger's, says nothing of it.

    All texts come back printable, and cut off where they are longer than those of `to_xmp`, so that what was read can
    be written again.
    """
    if len(packet) > _LARGEST_PACKET_BYTES or b"<!" in packet:  # a document type could define endless entities
        return None
    try:
        root = ElementTree.fromstring(packet.decode("utf-8").strip("\0"))
    except (ElementTree.ParseError, ValueError):
        return None
    found = {name: _printable(root.findtext(f".//{{{_OWN}}}{tag}"), _LONGEST[name]) for name, tag in _FIELDS.items()}
    if not all(found.values()):
        return None
    source = unquote(found.pop("source"), errors="surrogateescape")
    kind = root.findtext(f".//{{{_IPTC}}}DigitalSourceType")
    return Provenance(**found, source=source, pasted=kind == PASTED)


_FIELDS = {
    "made_by": "MadeBy",
    "weights_sha256": "WeightsSHA256",
    "version": "Version",
    "source": "Source",
    "source_sha256": "SourceSHA256",
}
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_OWN = "urn:facebridge:provenance:1"
_LONGEST_PATH = 2000
_LONGEST = {
    "made_by": LONGEST_MARK,
    "weights_sha256": 64,
    "version": 100,
    "source": _LONGEST_PATH + 3,
    "source_sha256": 64,
}
_LARGEST_PACKET_BYTES = 1 << 17


def _encoded(letter: str) -> str:
    is_a_byte = "\udc80" <= letter <= "\udcff"  # of a file's name that is no UTF-8
    return quote(letter.encode("utf-8", errors="surrogateescape" if is_a_byte else "surrogatepass"), safe="")


def _printable(text: str | None, longest: int) -> str:
    return "".join(filter(str.isprintable, text or ""))[:longest]
