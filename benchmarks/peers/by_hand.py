"""What a user writes who needs one call and takes no SDK: signing, and a model of the reply."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from urllib.parse import urlencode, urlsplit

from pydantic import BaseModel

from benchmarks.peers import ACCESS_KEY, PATH, SECRET_KEY


class OrderError(BaseModel):
    """One order that was refused."""

    order_id: str
    err_code: int
    err_msg: str


class Cancelled(BaseModel):
    """What became of the orders."""

    errors: list[OrderError]
    successes: str

    def ids(self) -> list[str]:
        """The orders that were taken."""
        return self.successes.split(",") if self.successes else []


class Reply(BaseModel):
    """The documented reply; one with `status` "error" has no data and fails here."""

    status: str
    data: Cancelled
    ts: int


def signed(base_url: str, path: str = PATH, method: str = "POST", **asked: str) -> str:
    """The URL of a request that may go now; `asked`: what else stands in its query."""
    query = urlencode(
        {
            "AccessKeyId": ACCESS_KEY,
            "SignatureMethod": "HmacSHA256",
            "SignatureVersion": "2",
            "Timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            # By their bytes, and capitals come before all others.
            **dict(sorted(asked.items())),
        }
    )
    text = f"{method}\n{urlsplit(base_url).netloc}\n{path}\n{query}"
    digest = hmac.new(SECRET_KEY.encode(), text.encode(), hashlib.sha256).digest()
    signature = urlencode({"Signature": base64.b64encode(digest).decode()})
    return f"{base_url}{path}?{query}&{signature}"
