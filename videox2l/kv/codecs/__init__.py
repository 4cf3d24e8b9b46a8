"""How stored KVs become bytes and come back: one small file a codec, pure functions of tensors and buffers."""

from videox2l.kv.codecs.codec import CODECS, Codec, CodecError, codec

__all__ = ["CODECS", "Codec", "CodecError", "codec"]
