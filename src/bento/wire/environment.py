"""What a service is told of its call, by its environment: the same in a domain and on the host.

Source: the field's page on the execution of RPC services.
"""

from bento.wire.names import ADMIN, DomainName, ServiceArgument, ServiceName, TargetName


def call_environment(
    service: ServiceName, argument: ServiceArgument, source: DomainName, target: TargetName
) -> dict[str, str]:
    """`target` is what the caller named, which may be nothing or a keyword."""
    values = {
        "QREXEC_REMOTE_DOMAIN": source,
        "QREXEC_SERVICE_FULL_NAME": full_name(service, argument, source),
    }
    if argument or source != ADMIN:
        values["QREXEC_SERVICE_ARGUMENT"] = argument
    if target.startswith("@"):
        values["QREXEC_REQUESTED_TARGET_TYPE"] = "keyword"
        values["QREXEC_REQUESTED_TARGET_KEYWORD"] = target[1:]
    elif target:
        values["QREXEC_REQUESTED_TARGET_TYPE"] = "name"
        values["QREXEC_REQUESTED_TARGET"] = target
    else:
        values["QREXEC_REQUESTED_TARGET_TYPE"] = ""
    return values


def full_name(service: ServiceName, argument: ServiceArgument, source: DomainName) -> str:
    """As the field has it: a domain's call always has an argument, if an empty one; the admin domain's need not."""
    return f"{service}+{argument}" if argument or source != ADMIN else service
