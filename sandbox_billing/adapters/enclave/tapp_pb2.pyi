# ruff: noqa
# fmt: off
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class GetAppSecretKeyRequest(_message.Message):
    __slots__ = ("app_id", "key_type", "x25519")
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_TYPE_FIELD_NUMBER: _ClassVar[int]
    X25519_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    key_type: str
    x25519: bool
    def __init__(self, app_id: _Optional[str] = ..., key_type: _Optional[str] = ..., x25519: _Optional[bool] = ...) -> None: ...

class GetAppSecretKeyResponse(_message.Message):
    __slots__ = ("success", "message", "private_key", "public_key", "eth_address", "x25519_public_key")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_KEY_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    ETH_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    X25519_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    success: bool
    message: str
    private_key: bytes
    public_key: bytes
    eth_address: bytes
    x25519_public_key: bytes
    def __init__(self, success: _Optional[bool] = ..., message: _Optional[str] = ..., private_key: _Optional[bytes] = ..., public_key: _Optional[bytes] = ..., eth_address: _Optional[bytes] = ..., x25519_public_key: _Optional[bytes] = ...) -> None: ...
