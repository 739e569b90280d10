"""The ``neurogrid`` command. Modules import what is heavy inside their commands, so that help comes at once."""
