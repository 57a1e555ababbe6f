"""Completeness: an exception class that a new version of botocore brings must be given a meaning."""

from __future__ import annotations

import botocore.exceptions

from cloudcached.stores.boto3.store import KINDS

#: botocore's exceptions that complain of the request or of the settings: ``StoreRefused``.
REFUSED = """
    AliasConflictParameterError ApiVersionNotFoundError AwsChunkedWrapperError BaseEndpointResolverError
    CapacityNotAvailableError ConfigNotFound ConfigParseError DataNotFoundError EndpointProviderError
    EndpointResolutionError EndpointVariantError InfiniteLoopConfigError InvalidChecksumConfigError
    InvalidConfigError InvalidDNSNameError InvalidDefaultsMode InvalidEndpointConfigurationError
    InvalidEndpointDiscoveryConfigurationError InvalidExpressionError InvalidHostLabelError
    InvalidIMDSEndpointError InvalidIMDSEndpointModeError InvalidMaxRetryAttemptsError InvalidProxiesConfigError
    InvalidRegionError InvalidRetryConfigurationError InvalidRetryModeError InvalidS3AddressingStyleError
    InvalidS3UsEast1RegionalEndpointConfigError InvalidSTSRegionalEndpointsConfigError MD5UnavailableError
    MissingDependencyException MissingParametersError MissingServiceIdError NoRegionError
    OperationNotPageableError PaginationError ParamValidationError ProfileNotFound RangeError
    ServiceNotInRegionError StubAssertionError StubResponseError UnStubbedResponseError
    UndefinedModelAttributeError UnknownClientMethodError UnknownEndpointError
    UnknownEndpointResolutionBuiltInName UnknownFIPSEndpointError UnknownKeyError UnknownParameterError
    UnknownRegionError UnknownServiceError UnknownServiceStyle UnknownSignatureVersionError
    UnknownTokenProviderError UnseekableStreamError UnsupportedOutpostResourceError
    UnsupportedS3AccesspointConfigurationError UnsupportedS3ArnError UnsupportedS3ConfigurationError
    UnsupportedS3ControlArnError UnsupportedS3ControlConfigurationError UnsupportedServiceProtocolsError
    UnsupportedSignatureVersionError ValidationError WaiterConfigError WaiterError
"""


def test_every_error_of_botocore_has_a_meaning() -> None:
    for name, kind in vars(botocore.exceptions).items():
        if not isinstance(kind, type) or not issubclass(kind, Exception) or issubclass(kind, Warning):
            continue
        if kind.__module__ != "botocore.exceptions" or issubclass(kind, botocore.exceptions.ClientError):
            continue
        known = name in REFUSED.split() or any(base.__name__ in KINDS for base in kind.__mro__)
        assert known or name == "BotoCoreError", f"{name} is new: give it a meaning in KINDS, or name it in REFUSED"
