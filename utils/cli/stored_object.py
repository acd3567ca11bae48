"""An object of the object store as a file that is read from its start to its end, without a copy on disk."""

import io

from utils.errors import IlabError
from utils.stages.object_store.client import ObjectStore
from utils.stages.object_store.download import ObjectStat


class StoredObject(io.RawIOBase):
    """Reads ranges of an object, one at a time: memory holds one of them.

    Args:
        chunk: bytes of a range.

    Raises:
        SystemExit: the store refused, or was away for too long.
        IlabError: the object changed meanwhile.
    """

    def __init__(self, store: ObjectStore, stat: ObjectStat, chunk: int = 16 << 20) -> None:
        self._store, self._stat, self._chunk = store, stat, chunk
        self._at, self._rest = 0, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target) -> int:  # type: ignore[no-untyped-def] # WriteableBuffer is typeshed's alone
        if not self._rest and self._at < self._stat.size:
            self._rest = memoryview(self._fetch())
            self._at += len(self._rest)
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _fetch(self) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError

        store, key = self._store, self._stat.key
        end = min(self._at + self._chunk, self._stat.size) - 1
        wanted = {"Range": f"bytes={self._at}-{end}", "IfMatch": f'"{self._stat.etag}"'}
        try:
            data: bytes = store.wait_out(
                lambda: store.client.get_object(Bucket=store.bucket, Key=key, **wanted)["Body"].read(), key
            )
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
                changed = f"s3://{store.bucket}/{key} changed while it was read"
                raise IlabError(changed, "something writes it", "run the command again") from None
            raise store.failure(key, error) from None
        except BotoCoreError as error:
            raise store.failure(key, error) from None
        return data
