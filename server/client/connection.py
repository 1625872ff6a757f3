"""One gRPC channel to a server. Every failure leaves it as an error of ``common.errors``."""

from __future__ import annotations

from typing import Any, Final, Self, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common.addresses import parse_host_port
from common.channel import CHANNEL_OPTIONS
from common.errors import ConfigError, Error, InvalidInputError, LinkError
from common.rpc_status import CODE_KEY, from_status

DEFAULT_SERVER: Final = "127.0.0.1:50051"
CALL_SECONDS: Final = 30.0
_CHECK_SECONDS: Final = 10.0
# Lists of a whole fleet come in one message; nothing else that a server sends is this large.
_MAX_REPLY_BYTES: Final = 64 * 1024 * 1024
_OPTIONS: Final = (
    *(option for option in CHANNEL_OPTIONS if option[0] != "grpc.max_receive_message_length"),
    ("grpc.max_receive_message_length", _MAX_REPLY_BYTES),
)
_ADVICE: Final = "Start one with `nestfleet server`, or name another with --server or NESTFLEET_SERVER."

RequestT = TypeVar("RequestT", bound=Message)
ReplyT = TypeVar("ReplyT", bound=Message)


class Connection:
    """A channel that is opened by the first call and closed with the context.

    Args:
        server: ``HOST:PORT``.

    Raises:
        ConfigError: ``server`` is no address.
    """

    def __init__(self, server: str = DEFAULT_SERVER) -> None:
        try:
            _, port = parse_host_port(server)
        except ConfigError:
            port = 0
        if not port:
            raise ConfigError(f"{server[:80]!r} is no server address.", advice="Write HOST:PORT.")
        self.server = server
        self.channel = grpc.insecure_channel(server, options=_OPTIONS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the channel up; calls under way are cancelled."""
        self.channel.close()

    def call(
        self,
        method: grpc.UnaryUnaryMultiCallable[RequestT, ReplyT],
        request: RequestT,
        *,
        seconds: float = CALL_SECONDS,
    ) -> ReplyT:
        """The reply to one request.

        Raises:
            Error: What the server answered, or LinkError when it did not answer within ``seconds``.
        """
        try:
            return method(request, timeout=seconds)
        except grpc.RpcError as error:
            raise self.meant_by(error) from error

    def check(self) -> None:
        """Return when the server serves; before long work, so that it is not done in vain.

        Raises:
            LinkError: It does not answer, or not yet.
        """
        health = health_pb2_grpc.HealthStub(self.channel)
        reply: Any = self.call(health.Check, health_pb2.HealthCheckRequest(), seconds=_CHECK_SECONDS)
        if reply.status != health_pb2.HealthCheckResponse.SERVING:
            raise LinkError(f"The server at {self.server} does not serve yet.", advice="Try again soon.")

    def meant_by(self, error: grpc.RpcError) -> Error:
        """The error that a failed call stands for, in words for the operator."""
        # Every error that gRPC raises from a call is a Call as well; its type stubs cannot say so.
        call: Any = error
        trailers = [(str(key), value) for key, value in (call.trailing_metadata() or ())]
        if all(key != CODE_KEY for key, _ in trailers):
            bare = self._bare(call.code())
            if bare:
                return bare
        return from_status(call.code(), call.details() or "", trailers)

    def _bare(self, status: grpc.StatusCode) -> Error | None:
        """For a status that gRPC itself made, without a server of ours behind it."""
        if status is grpc.StatusCode.UNAVAILABLE:
            return LinkError(f"No server answers at {self.server}.", advice=_ADVICE)
        if status is grpc.StatusCode.DEADLINE_EXCEEDED:
            return LinkError(f"The server at {self.server} did not answer in time.", advice="Try again.")
        if status is grpc.StatusCode.UNIMPLEMENTED:
            return InvalidInputError(
                f"What answers at {self.server} does not know this call.",
                advice="It is another program, or a nestfleet server of another release.",
            )
        return None
