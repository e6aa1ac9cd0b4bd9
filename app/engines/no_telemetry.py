"""Turns off OpenVINO's telemetry.  Import this module before openvino.

Importing openvino sends a usage event, unless a file in the user's home or ``CI=true`` says not to.
If the package ``openvino_telemetry`` cannot be imported, OpenVINO uses a stub that sends nothing.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # makes importing it fail
