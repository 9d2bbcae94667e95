"""Opens the object store that the settings name, and the buckets that a former Score has left."""

from typing import TYPE_CHECKING

from runtime_grpc.command_line import StartRefusedError
from score_grpc.domain.errors import StoreUnavailableError
from score_grpc.gateways.objects.former import FormerBuckets
from score_grpc.gateways.objects.local import LocalObjectStore
from score_grpc.gateways.objects.partitioned import PartitionedStore
from score_grpc.gateways.objects.port import ObjectStore
from score_grpc.settings import ScoreSettings

if TYPE_CHECKING:
    from score_grpc.gateways.objects.s3_client import S3Options


def open_store(settings: ScoreSettings) -> ObjectStore:
    """Open the object store that the settings name. Raises StartRefusedError."""
    if settings.store == "local":
        try:
            return LocalObjectStore(settings.data_dir / "objects")
        except StoreUnavailableError as error:
            raise StartRefusedError(str(error)) from error
    return _open_azure(settings) if settings.store == "azure" else _open_s3(settings)


def _open_s3(settings: ScoreSettings) -> ObjectStore:
    try:
        from score_grpc.gateways.objects.s3 import S3ObjectStore  # noqa: PLC0415 - boto3 is an extra
        from score_grpc.gateways.objects.s3_client import CONFIGURATION_ERRORS  # noqa: PLC0415
    except ImportError:
        raise StartRefusedError("store s3 needs the extra 's3': pip install 'song-score[server,s3]'") from None
    if not settings.s3_bucket:
        raise StartRefusedError("store s3 needs s3_bucket: name an existing bucket")
    options = _s3_options(settings)
    try:
        base = S3ObjectStore(options)
    except CONFIGURATION_ERRORS as error:
        raise StartRefusedError(f"store s3: {error}") from None
    # Also without a pool: what is in one by now stays there.
    store = PartitionedStore(base, base.in_bucket, settings.layout.partitions)
    try:
        store.check_partitions()
    except StoreUnavailableError as error:
        store.close()
        raise StartRefusedError(f"s3_bucket_pool {settings.s3_bucket_pool}: {error} Score creates no bucket.") from None
    return store


def _s3_options(settings: ScoreSettings) -> "S3Options":
    from score_grpc.gateways.objects.s3_client import S3Options  # noqa: PLC0415 - boto3 is an extra

    return S3Options(
        bucket=settings.s3_bucket,
        region=settings.s3_region,
        endpoint_url=settings.s3_endpoint or None,
        public_endpoint_url=settings.s3_public_endpoint or None,
        uses_path_style=settings.s3_path_style,
        access_key_id=settings.s3_access_key.get_secret_value() or None,
        secret_access_key=settings.s3_secret_key.get_secret_value() or None,
        session_token=settings.s3_session_token.get_secret_value() or None,
        profile=settings.s3_profile or None,
        kms_key=settings.s3_kms_key or None,
        ca_file=settings.s3_ca_file,
    )


def open_former_buckets(settings: ScoreSettings) -> FormerBuckets:
    """Open the buckets of a former Score, which are those of the S3 store, once that one is open."""
    from score_grpc.gateways.objects.s3_former import S3FormerBuckets  # noqa: PLC0415 - boto3 is an extra

    return S3FormerBuckets(
        _s3_options(settings), settings.layout, settings.adopt_state_bucket, settings.adopt_upload_folder
    )


def _open_azure(settings: ScoreSettings) -> ObjectStore:
    try:
        from score_grpc.gateways.objects.azure import AzureObjectStore, AzureOptions  # noqa: PLC0415 - an extra
    except ImportError:
        raise StartRefusedError("store azure needs the extra 'azure': pip install 'song-score[server,azure]'") from None
    if not settings.azure_container:
        raise StartRefusedError("store azure needs azure_container: name an existing container")
    options = AzureOptions(
        container=settings.azure_container,
        connection_string=settings.azure_connection_string.get_secret_value() or None,
        account=settings.azure_account or None,
        account_key=settings.azure_key.get_secret_value() or None,
        sas=settings.azure_sas.get_secret_value() or None,
        endpoint_url=settings.azure_endpoint or None,
        ca_file=settings.azure_ca_file,
    )
    try:
        return AzureObjectStore(options)
    except ValueError as error:
        raise StartRefusedError(f"store azure: {error}") from None
