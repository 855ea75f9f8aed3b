"""Distillation methods: ``base`` says what one is, ``registry`` finds one by name."""
