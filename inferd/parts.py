"""The parts of the server, one line each: a feature is one folder and its line here, as nginx's modules are.

A part's package has `part.py`, whose make(parts) returns the Part, or None where the settings do not ask for it. It may have
`settings.py`, whose Settings become rows of the table of all settings. They start in this order, and stop in it.
"""

PARTS = [
    "inferd.serving.parts.inference",
    "inferd.serving.parts.models",
    "inferd.record",
    "inferd.serving.parts.health",
    "inferd.serving.parts.inspection",
    "inferd.serving.parts.live_settings",
    "inferd.serving.parts.model_control",
    "inferd.serving.parts.on_demand",
    "inferd.rollout",
    "inferd.feedback",
    "inferd.monitor",
    "inferd.serving.parts.reflection",
    "inferd.serving.parts.pages",
]
