"""Feed the entry parser whatever atheris can think of: it must end in a value or in ``EntryRefused``.

    make fuzz [SECONDS=180]

Half of the inputs get a valid signature and seal, as somebody without a key can make them for an unsigned cache: behind
those checks lie the numbers, the decompressor and the restricted unpickler.
"""

from __future__ import annotations

import contextlib
import sys

import atheris

with atheris.instrument_imports(include=["cloudcached"]):
    from codecs_by_options import codec_of

    from cloudcached.config import Config
    from cloudcached.entry import format as entry
    from cloudcached.entry import values as serializers
    from cloudcached.entry.signing import PLAIN
    from cloudcached.errors import EntryRefused

LIMIT = 1 << 16
CODECS = [
    codec_of(Config.parse("s3://fuzz/p", {"max_value_bytes": LIMIT})),
    codec_of(Config.parse("s3://fuzz/p", {"max_value_bytes": LIMIT, "signing_key": "key"})),
    codec_of(Config.parse("s3://fuzz/p", {"max_value_bytes": LIMIT, "encryption_key": "key"})),
]
PLACES = [entry.Place("key", "p/3e/key", False), entry.Place("key", "p/00/~hashed", True)]
TAGS = ["str", "bytes", "int", "float", "complex", "bool", "none", "pickle"]


def one_input(data: bytes) -> None:
    """Check one entry made of *data*."""
    source = atheris.FuzzedDataProvider(data)
    codec, place = source.PickValueInList(CODECS), source.PickValueInList(PLACES)
    text = source.ConsumeUnicode
    metadata = {
        "cc-format": entry.FORMAT if source.ConsumeBool() else text(3),
        "cc-type": source.PickValueInList(TAGS) if source.ConsumeBool() else text(8),
        "cc-encoding": source.PickValueInList(["plain", "zstd", "plain+aes-gcm:00", text(12)]),
        "cc-expires": source.PickValueInList(["never", "1", text(20)]),
        "cc-created": source.PickValueInList(["1", text(20)]),
        "cc-nonce": "n" * 43 if source.ConsumeBool() else text(43),
        "cc-key-id": source.PickValueInList(["none", text(12)]),
    }
    if source.ConsumeBool():
        metadata["cc-recent"] = text(40)
    for name in ("cc-fresh", "cc-cost"):
        if source.ConsumeBool():
            metadata[name] = source.PickValueInList(["1", text(20)])
    if source.ConsumeBool():
        metadata[text(10)] = text(10)
    payload = source.ConsumeBytes(LIMIT)
    try:
        if source.remaining_bytes() == 0 or source.ConsumeBool():
            metadata["cc-signature"] = PLAIN.sign(entry._canonical(place.object_key, metadata))
            payload += PLAIN.seal(metadata["cc-nonce"].encode("ascii", "replace").decode(), payload)
        meta = codec.check(place.object_key, metadata, len(payload))
        codec.decode(meta, codec.open(place, meta, payload))
    except EntryRefused:
        pass
    with contextlib.suppress(EntryRefused):
        serializers.decode(metadata["cc-type"], payload, trusted=False)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
