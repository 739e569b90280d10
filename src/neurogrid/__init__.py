"""NeuroGrid: a self-hosted AI task grid."""

__version__ = "0.1.0"
