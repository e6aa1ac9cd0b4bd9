"""Keeps OpenVINO from telling its makers that it is used.

Import this module before openvino.  Importing openvino sends an event, unless asked not to by a
file in the user's home or by ``CI=true``; a service tells nobody anything.  Where the package
``openvino_telemetry`` cannot be imported, OpenVINO takes a stub of its own, which sends nothing.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # None: an import of it fails
