"""Training: one loop, and everything it is made of. It knows no study and no database.

``fit``: the loop. ``steps``: one step of it, recorded where a GPU can replay it.
``evaluation``: logits and scores. ``engine``: device, precision, threads, images
on the device. ``optimizers``, ``models``, ``losses``. ``teachers``: many teachers at once.
``federated``: federated averaging and what else runs in rounds. ``methods/``: one small file per
distillation method.
"""
