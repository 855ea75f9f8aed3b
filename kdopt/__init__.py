"""kdopt: which distillation method, temperature and alpha, for every teacher-student pair."""

__version__ = "0.1.0"
