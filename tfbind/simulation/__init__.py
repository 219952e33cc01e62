"""The demo's simulated world: factors with a recognition code, chromatin, binding. From a seed; not data."""
