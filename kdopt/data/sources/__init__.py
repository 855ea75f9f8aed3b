"""Where images come from: one small module per format, each with ``load(settings) -> Raw``."""
