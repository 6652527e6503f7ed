"""An exception of boto3 -> a StartError with the cure, and whether another attempt may succeed."""

from botocore import exceptions as boto
from botocore.exceptions import ClientError

from handler.errors import StartError

_CREDENTIALS = "give the process a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN)"
_PERMISSIONS = (
    "the role needs s3:ListBucket on the bucket and s3:GetObject (with kms:Decrypt where KMS is used) on the model"
)
_NETWORK = "check the network, the VPC's S3 endpoint and AWS_ENDPOINT_URL"

# Error codes of S3: what is wrong, and the cure.
_CODES = {
    "NoSuchBucket": ("there is no such bucket", "correct the address, or the account and region"),
    "NoSuchKey": ("there is no such object", "correct the address"),
    "InvalidRange": ("the object is empty", "upload the model again"),
    "AccessDenied": ("access is denied", _PERMISSIONS),
    "AllAccessDisabled": ("all access to the bucket is disabled", "ask its owner"),
    "InvalidBucketName": ("no bucket can have that name", "correct the address"),
    "InvalidAccessKeyId": ("the access key does not exist", _CREDENTIALS),
    "SignatureDoesNotMatch": ("the secret access key is wrong", _CREDENTIALS),
    "ExpiredToken": ("the credentials have expired", "renew them"),
    "InvalidToken": ("the session token is wrong", _CREDENTIALS),
    "TokenRefreshRequired": ("the credentials have expired", "renew them"),
    "RequestTimeTooSkewed": ("this machine's clock is wrong", "set it"),
    "InvalidObjectState": ("the object is archived (Glacier)", "restore it first"),
    "PermanentRedirect": ("the bucket is in another region", "set AWS_REGION to it"),
    "IllegalLocationConstraintException": ("the bucket is in another region", "set AWS_REGION to it"),
    "AuthorizationHeaderMalformed": ("the bucket is in another region", "set AWS_REGION to it"),
    "KMS.DisabledException": ("its KMS key is disabled", "enable the key"),
    "KMS.NotFoundException": ("its KMS key does not exist", "upload the model again"),
}
_ALIASES = {"403": "AccessDenied", "404": "NoSuchKey", "Forbidden": "AccessDenied", "416": "InvalidRange"}

# boto3's own exceptions, the more specific first.
_TYPES: tuple[tuple[type[Exception], str, str], ...] = (
    (boto.NoCredentialsError, "no credentials were found", _CREDENTIALS),
    (boto.PartialCredentialsError, "the credentials are incomplete", _CREDENTIALS),
    (boto.CredentialRetrievalError, "the credentials could not be retrieved", _CREDENTIALS),
    (boto.TokenRetrievalError, "the credentials could not be retrieved", _CREDENTIALS),
    (boto.SSOError, "the credentials could not be retrieved", _CREDENTIALS),
    (boto.ProfileNotFound, "the profile that AWS_PROFILE names does not exist", "correct or unset AWS_PROFILE"),
    (boto.SSLError, "the connection is not trusted", "set AWS_CA_BUNDLE to the certificates of your proxy or store"),
    (boto.ProxyConnectionError, "the proxy does not respond", "check HTTPS_PROXY and NO_PROXY"),
    (boto.ParamValidationError, "no bucket or object can have that name", "correct the address"),
    (boto.HTTPClientError, "S3 does not respond", _NETWORK),
    (boto.ConnectionError, "S3 does not respond", _NETWORK),
)
_TRANSIENT_CODES = {
    "InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout", "Throttling", "ThrottlingException",
    "500", "502", "503", "504",
}  # fmt: skip
_TRANSIENT_TYPES = (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError, boto.ResponseStreamingError)


def error_for(error: Exception, where: str, doing: str) -> StartError:
    """The StartError for an exception of boto3; `doing` goes on after "cannot"."""
    wrong, cure = _explain(error)
    return StartError(f"The model {where} cannot {doing}: {wrong}; {cure}.")


def is_transient(error: Exception) -> bool:
    """Whether another attempt may succeed."""
    if isinstance(error, ClientError):
        return _code(error) in _TRANSIENT_CODES
    return isinstance(error, _TRANSIENT_TYPES) and not isinstance(error, boto.SSLError | boto.ProxyConnectionError)


def is_change(error: ClientError) -> bool:
    """Whether the object is no longer the one of the listing."""
    return _code(error) in ("PreconditionFailed", "412", "NoSuchKey")


def _explain(error: Exception) -> tuple[str, str]:
    if isinstance(error, ClientError):
        code = _code(error)
        message = error.response.get("Error", {}).get("Message", "")
        if code in _CODES:
            wrong, cure = _CODES[code]
            return f"{wrong} ({code})", cure
        return f"S3 responds with {code} ({message})", "see the documentation of S3's error codes"
    for type_, wrong, cure in _TYPES:
        if isinstance(error, type_):
            return f"{wrong} ({error})", cure
    return f"{type(error).__name__}: {error}", "check the AWS settings of this process"


def _code(error: ClientError) -> str:
    code = str(error.response.get("Error", {}).get("Code", ""))
    return _ALIASES.get(code, code)
