"""Keeps OpenVINO from telling its makers that it is used.

Import this module before openvino.  Importing openvino sends an event, unless asked not to by a
file in the user's home or by ``CI=true``; a service tells nobody anything.  Without the package
``openvino_telemetry`` OpenVINO takes a stub of its own, so to it the package is not installed.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # documented: ImportError
