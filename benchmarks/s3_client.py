"""One object to or from an S3 by boto3's transfer manager, with its defaults: what others would write.

python -m benchmarks.s3_client up|down ENDPOINT BUCKET KEY PATH
"""

import sys

import boto3
from botocore.config import Config


def main() -> None:
    """Run it; the credentials are in the environment."""
    direction, endpoint, bucket, key, path = sys.argv[1:]
    config = Config(s3={"addressing_style": "path"}, proxies={})
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config)
    if direction == "up":
        client.upload_file(path, bucket, key)
    else:
        client.download_file(bucket, key, path)


if __name__ == "__main__":
    main()
