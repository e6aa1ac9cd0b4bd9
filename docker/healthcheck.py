"""Ends with 0 if the service in this container is ready: the images have no curl."""

import os
import sys
from http.client import HTTPConnection, HTTPException


def fault(port: int) -> str | None:
    """What is wrong, in one line; None if all is well."""
    connection = HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        return None if answer.status == 200 else f"{answer.status} {answer.read().decode()}"
    except (OSError, HTTPException) as error:
        return str(error)
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(fault(int(os.environ.get("GPEN_PORT", "8000"))))
