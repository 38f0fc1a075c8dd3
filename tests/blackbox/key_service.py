"""
The enclave's key service as a process: C{python -m tests.blackbox.key_service PORT}.

A process of its own, because gRPC's threads and a reactor that forks do not mix.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from sandbox_billing.adapters.enclave.tapp import METHOD
from sandbox_billing.adapters.enclave.tapp_pb2 import (
    GetAppSecretKeyRequest,
    GetAppSecretKeyResponse,
)
from sandbox_billing.devnet.world import SIGNER
from sandbox_billing.signing.key import SigningKey


def answer(request: Any, context: Any) -> GetAppSecretKeyResponse:
    """Hand out the well-known development key that the devnet registers as signer."""
    return GetAppSecretKeyResponse(
        success=True,
        private_key=SIGNER,
        public_key=bytes(64),
        eth_address=SigningKey.from_bytes(SIGNER).address.to_bytes(),
        x25519_public_key=bytes(32),
    )


def main() -> None:
    """Serve on 127.0.0.1 until killed."""
    server = grpc.server(ThreadPoolExecutor(2))
    _, service, method = METHOD.split("/")
    handler = grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=GetAppSecretKeyRequest.FromString,
        response_serializer=GetAppSecretKeyResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {method: handler})]
    )
    server.add_insecure_port(f"127.0.0.1:{int(sys.argv[1])}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
