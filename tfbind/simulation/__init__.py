"""The demo's simulated world: factors with a recognition code, chromatin, binding. Made from a seed; not data."""
